#!/usr/bin/env node
// Answers what forge asks of a native solc, which npm does not carry, with the one it does.
const { readFileSync } = require("node:fs");

if (process.argv.includes("--version")) {
  // Without loading the compiler: forge asks each time it starts.
  const { version } = require("solc/package.json");
  console.log("solc, the solidity compiler commandline interface");
  console.log(`Version: ${version}+npm.Linux.g++`);
} else if (process.argv.includes("--standard-json")) {
  process.stdout.write(require("solc").compile(readFileSync(0, "utf8")));
} else {
  console.error("only --version and --standard-json");
  process.exit(1);
}

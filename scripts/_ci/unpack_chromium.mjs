// Unpacks the Chromium of @sparticuz/chromium, with the libraries and the font that come with it,
// into node_modules/.chromium: nothing of the machine's is needed to run it.

import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { brotliDecompressSync } from "node:zlib";

const packed = "node_modules/@sparticuz/chromium/bin";
const home = resolve("node_modules/.chromium");

rmSync(home, { recursive: true, force: true });
mkdirSync(home);
const unpack = (name) => brotliDecompressSync(readFileSync(`${packed}/${name}.br`));
writeFileSync(`${home}/chromium`, unpack("chromium"));
chmodSync(`${home}/chromium`, 0o755);
for (const name of ["al2023.tar", "fonts.tar"]) {
  execFileSync("tar", ["-x", "-C", home], { input: unpack(name) });
}
// The font that comes with it, and what the machine has.
writeFileSync(
  `${home}/fonts.conf`,
  `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir>${home}/fonts</dir>
  <cachedir>${home}/cache</cachedir>
</fontconfig>
`,
);

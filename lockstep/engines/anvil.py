"""anvil, the node of Foundry, over JSON-RPC: what a deployment meets, true gas included."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from lockstep.engines.base import (
    CHAIN_ID,
    GAS_LIMIT,
    GENESIS_TIME,
    VIEWER,
    EngineError,
    Outcome,
    PlainMatches,
)

START_SECONDS = 20
STOP_SECONDS = 5
REMEDY = "run `npm install --no-save @foundry-rs/anvil@1.7.1`, or set ANVIL to the binary"


def find_anvil() -> str:
    """The native binary: $ANVIL, then node_modules (here or above), then PATH."""
    given = os.environ.get("ANVIL")
    if given:
        if not os.access(given, os.X_OK):
            raise EngineError(f"ANVIL={given} is no executable file: {REMEDY}")
        return given
    here = Path.cwd()
    for folder in (here, *here.parents):
        for binary in sorted(folder.glob("node_modules/@foundry-rs/anvil-*/bin/anvil")):
            return str(binary)
    on_path = shutil.which("anvil")
    if on_path is None:
        raise EngineError(f"anvil was not found under node_modules nor on PATH: {REMEDY}")
    return on_path


class AnvilNode:
    """A process of anvil on a free port of the loopback interface. It does not outlive this
    process, however that ends."""

    # Then this process's end of the pipe is closed, and the node is told to go.
    SCRIPT = 'exec 3<&0; "$0" "$@" 3<&- & n=$!; { read -r _; kill $n; } <&3 2>/dev/null & wait $n'

    def __init__(
        self, flags: str, output: IO[bytes] | int = subprocess.DEVNULL, binary: str | None = None
    ) -> None:
        port = _free_port()
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        address = ["--host", "127.0.0.1", "--port", str(port)]
        self._process = subprocess.Popen(
            ["sh", "-c", self.SCRIPT, binary or find_anvil(), *address, *flags.split()],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for us to handle, not for the node
        )

    def wait(self, ask: Callable[[], object], *away: type[Exception]) -> None:
        """Until it can be asked without an error of these kinds; EngineError if that takes long."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                ask()
                return
            except away:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.close()
                    raise EngineError(f"anvil did not start: {REMEDY}") from None
                time.sleep(0.02)

    def close(self) -> None:
        """Ends it, and waits for that."""
        try:
            # A line, since a process forked meanwhile holds the pipe open.
            self._process.communicate(b"\n", STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class AnvilEngine(PlainMatches):
    name = "anvil"
    gas_is_real = True

    def __init__(self, gas_limit: int = GAS_LIMIT, binary: str | None = None) -> None:
        self._gas = hex(gas_limit)
        self._time = GENESIS_TIME
        self._snapshots: list[tuple[str, int]] = []
        flags = f"--chain-id {CHAIN_ID} --accounts 1 --silent"
        flags += " --hardfork cancun --block-base-fee-per-gas 0 --gas-price 0 --auto-impersonate"
        flags += f" --gas-limit {max(gas_limit, GAS_LIMIT)} --timestamp {GENESIS_TIME}"
        self._node = AnvilNode(flags, binary=binary)
        self.url = self._node.url
        self._http = http.client.HTTPConnection("127.0.0.1", self._node.port, timeout=60)
        self._node.wait(self._greet, OSError, http.client.HTTPException)

    def _greet(self) -> None:
        try:
            self._rpc("eth_chainId")
        except (OSError, http.client.HTTPException):
            self._http.close()
            raise

    def _post(self, method: str, params: tuple[Any, ...]) -> dict[str, Any]:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        self._http.request("POST", "/", body, {"Content-Type": "application/json"})
        reply: dict[str, Any] = json.loads(self._http.getresponse().read())
        return reply

    def _rpc(self, method: str, *params: Any) -> Any:
        reply = self._post(method, params)
        if "error" in reply:
            raise EngineError(f"anvil: {method}: {reply['error'].get('message', reply['error'])}")
        return reply["result"]

    def _send(self, fields: dict[str, str]) -> dict[str, Any]:
        # Without an explicit time the node would use the wall clock.
        self._rpc("evm_setNextBlockTimestamp", self._time)
        fields |= {"gas": self._gas, "gasPrice": "0x0"}
        receipt: dict[str, Any] = self._rpc("eth_sendTransactionSync", fields)
        return receipt

    def deploy(self, initcode: bytes, sender: str) -> str:
        receipt = self._send({"from": sender, "data": "0x" + initcode.hex()})
        if receipt["status"] != "0x1":
            raise EngineError("anvil: deployment failed")
        return str(receipt["contractAddress"]).lower()

    def call(self, sender: str, to: str, data: bytes) -> Outcome:
        receipt = self._send({"from": sender, "to": to, "data": "0x" + data.hex()})
        # A receipt carries neither return data nor revert data, the trace of the top call has both.
        trace = self._rpc(
            "debug_traceTransaction",
            receipt["transactionHash"],
            {"tracer": "callTracer", "tracerConfig": {"onlyTopCall": True}},
        )
        output = bytes.fromhex(trace.get("output", "0x")[2:])
        gas = int(receipt["gasUsed"], 16)
        if receipt["status"] != "0x1":
            error = trace["error"]
            if error == "execution reverted":
                return Outcome(False, output, [], "", gas)
            return Outcome(False, b"", [], error, gas)
        logs = [
            (
                log["address"].lower(),
                tuple(bytes.fromhex(topic[2:]) for topic in log["topics"]),
                bytes.fromhex(log["data"][2:]),
            )
            for log in receipt["logs"]
        ]
        return Outcome(True, output, logs, "", gas)

    def view(self, to: str, data: bytes, sender: str = VIEWER) -> Outcome:
        fields = {"from": sender, "to": to, "data": "0x" + data.hex(), "gas": self._gas}
        at = {"time": hex(self._time)}
        reply = self._post("eth_call", (fields, "latest", {}, at))
        if "error" not in reply:
            return Outcome(True, bytes.fromhex(reply["result"][2:]), [], "", 0)
        error = reply["error"]
        if error.get("code") == 3:  # the code of "execution reverted"
            return Outcome(False, bytes.fromhex((error.get("data") or "0x")[2:]), [], "", 0)
        if "EVM error" in error["message"]:
            return Outcome(False, b"", [], error["message"], 0)
        raise EngineError(f"anvil: eth_call: {error['message']}")

    def storage(self, address: str, slot: int) -> int:
        return int(self._rpc("eth_getStorageAt", address, hex(slot), "latest"), 16)

    def set_time(self, timestamp: int) -> None:
        if timestamp < self._time:
            raise EngineError(f"anvil: time may not go back from {self._time} to {timestamp}")
        self._time = timestamp

    def snapshot(self) -> int:
        self._snapshots.append((self._rpc("evm_snapshot"), self._time))
        return len(self._snapshots) - 1

    def revert(self, snapshot: int) -> None:
        if not 0 <= snapshot < len(self._snapshots):
            raise EngineError(f"anvil: snapshot {snapshot} was used up or never taken")
        node_id, self._time = self._snapshots[snapshot]
        del self._snapshots[snapshot:]
        if self._rpc("evm_revert", node_id) is not True:
            raise EngineError(f"anvil: could not revert to snapshot {snapshot}")

    def code(self, address: str) -> bytes:
        return bytes.fromhex(self._rpc("eth_getCode", address, "latest")[2:])

    def close(self) -> None:
        self._http.close()
        self._node.close()

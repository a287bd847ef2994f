"""anvil, the node of Foundry, over JSON-RPC: what a deployment meets, true gas included."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from lockstep.engines.base import (
    CHAIN_ID,
    GAS_LIMIT,
    GENESIS_TIME,
    VIEWER,
    EngineError,
    Outcome,
    PlainMatches,
)

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


def free_port() -> int:
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
        port = free_port()
        flags = f"--host 127.0.0.1 --port {port} --chain-id {CHAIN_ID} --accounts 1 --silent"
        flags += " --hardfork cancun --block-base-fee-per-gas 0 --gas-price 0 --auto-impersonate"
        flags += f" --gas-limit {max(gas_limit, GAS_LIMIT)} --timestamp {GENESIS_TIME}"
        self._process = subprocess.Popen(
            [binary or find_anvil(), *flags.split()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us to handle, not for the node
        )
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                self._rpc("eth_chainId")
                return
            except (OSError, http.client.HTTPException):
                self._http.close()
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.close()
                    raise EngineError(f"anvil did not start: {REMEDY}") from None
                time.sleep(0.02)

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
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

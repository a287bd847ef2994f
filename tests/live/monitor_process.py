"""A monitor in a process of its own, to be killed: address, manifest, database, options."""

import logging
import sys
from pathlib import Path

from web3 import Web3

from lockstep.interrupts import ENDINGS, noted_interrupts
from operations.manifest import read_manifest
from operations.monitor.watch import Options, watch


def main():
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    address, manifest, database, webhook, is_once = sys.argv[1:]
    options = Options(
        Path(database), is_once=is_once == "once", webhook=webhook or None, interval=0.05
    )
    with noted_interrupts(options.policy.stop.set, ENDINGS):
        return watch(Web3(Web3.HTTPProvider(address)), read_manifest(Path(manifest)), options)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m operations.demo demo --help`."""

from operations.demo.command import main

if __name__ == "__main__":
    main()

"""`python -m suites vault`."""

from suites.vault import main

if __name__ == "__main__":
    main(prog_name="python -m suites")

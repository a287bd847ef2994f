"""`python -m perp_fuzz`: fuzz, gas, bench and planted."""

from perp_fuzz.commands import main as main

if __name__ == "__main__":
    main()

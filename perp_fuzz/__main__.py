"""`python -m perp_fuzz`: fuzz, planted, isolation, gas and bench."""

from perp_fuzz.commands import main as main

if __name__ == "__main__":
    main()

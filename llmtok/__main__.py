"""`python -m llmtok` is the command line."""

from llmtok.cli import main

if __name__ == "__main__":
    main()

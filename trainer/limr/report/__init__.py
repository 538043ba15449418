"""What an experiment found and what it cost: `results.json` for programs, `index.html` for people."""

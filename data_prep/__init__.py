"""Command-line tools that fetch and prepare data; run them with python -m."""

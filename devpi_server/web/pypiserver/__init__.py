"""The addresses of ``pypi-server``: a folder, for installers and whoever uploads (peers.md 1)."""

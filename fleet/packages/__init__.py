"""What a device without a network installs: wheels and a Debian package for each kind of system.

`targets.py` (what systems there are), `resolve.py` (which distributions one needs) and `debian.py` (what the
package holds and says) are pure; `adapters/` speaks to pip, to wheels and to dpkg-deb; `app.py` joins them,
`cli.py` is the `package` command. Nothing of the target is run: all of it is made on any Linux or macOS.
"""

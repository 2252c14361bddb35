"""Builds what dom0 installs: an RPM, and a tarball with the same content.

`python -m deploy.package rpm` stages all files below a directory (contents, wheels, staging), packs
them into the tarball, and hands that to rpmbuild (archives). None of this is in the package.
"""

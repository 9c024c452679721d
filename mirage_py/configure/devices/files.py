# SPDX-License-Identifier: MIT
"""A folder's files in the image."""

from mirage_py.configure.device import Device, Kind
from mirage_py.configure.devices.signatures import FILES as OFFERS
from mirage_py.configure.embedded import Folder

FILES = Kind(
    name="files",
    offers=OFFERS,
    implementation="libos.hal.files.Files",
    doc="the files of a folder, in read-only memory",
    settings={"name": None, "index": None},
)


def files(folder: str, *, compress: bool = True) -> Device:
    """The files below `folder` (a path from where config.py is), as they are when the image is built.

    compress: those that get smaller have twins in gzip, and in Brotli where the tool has the package brotli.
    """
    return FILES(name=folder, index=Folder(folder, compress))

"""The pictures of the integration follow the rules of Home Assistant's brands."""

from itertools import product
import struct

from . import FOLDER


def test_pictures_are_there_in_each_size() -> None:
    """Icons are square, logos wider; all are PNG with alpha, 256 or 512 pixels high."""
    for theme, kind, (mark, height) in product(
        ("", "dark_"), ("icon", "logo"), (("", 256), ("@2x", 512))
    ):
        picture = (FOLDER / f"brand/{theme}{kind}{mark}.png").read_bytes()
        signature, width, high, colours = struct.unpack(">8s8x2IxB6x", picture[:32])
        assert signature == b"\x89PNG\r\n\x1a\n"
        assert high == height
        assert width == height if kind == "icon" else width > height
        assert colours == 6, "with an alpha channel"

"""Pack the integration for a release, with the version written into its manifest.

    python3 -m scripts.release VERSION homebattery.zip

What HACS unpacks into custom_components/homebattery is at the root of the file.
"""

import json
from pathlib import Path
import re
import sys
from typing import Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

FOLDER: Final = Path(__file__).parents[1] / "custom_components/homebattery"
# As old as a file in an archive can be: equal files make equal archives.
_DATE: Final = (1980, 1, 1, 0, 0, 0)


def write_zip(folder: Path, target: Path, version: str) -> None:
    """Pack an integration; `version` may be a tag, with a v before it."""
    number = version.removeprefix("v")
    if not re.fullmatch(r"\d+\.\d+\.\d+([a-z.-]+\d*)?", number):
        raise ValueError(f"{version} is no version such as 1.2.3 or 1.2.3b1")
    with ZipFile(target, "w", ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_dir() or "__pycache__" in path.parts:
                continue
            content = path.read_bytes()
            if path == folder / "manifest.json":
                manifest = {**json.loads(content), "version": number}
                content = (json.dumps(manifest, indent=2) + "\n").encode()
            info = ZipInfo(path.relative_to(folder).as_posix(), _DATE)
            info.external_attr = 0o644 << 16
            info.compress_type = ZIP_DEFLATED
            archive.writestr(info, content)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    write_zip(FOLDER, Path(sys.argv[2]), sys.argv[1])

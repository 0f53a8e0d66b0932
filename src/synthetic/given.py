"""Files that a user gives by their paths: photos and panoramas for the background, photographed skin."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from tempohand.synthetic.archive import Archive
from tempohand.synthetic.backgrounds import list_photos
from tempohand.synthetic.hand_kit import HandKit
from tempohand.synthetic.panoramas import Panoramas
from tempohand.synthetic.skins import Skins


class Given(NamedTuple):
    """What there is of it."""

    photos: list[Path] = []
    skins: Skins | None = None
    panoramas: Panoramas | None = None


class GivenPaths(NamedTuple):
    """Where it is: each a folder, skins and panoramas also a tar archive; None for what is not given."""

    backgrounds: str | None
    skins: str | None
    panoramas: str | None

    def load(self, kit: HandKit) -> Given:
        """Raises FileNotFoundError or ValueError naming the path that holds nothing of use."""
        return Given(
            photos=list_photos(self.backgrounds) if self.backgrounds else [],
            skins=Skins(Archive(self.skins, "skins"), kit.skin, kit.atlas, kit.faces) if self.skins else None,
            panoramas=Panoramas(Archive(self.panoramas, "panoramas")) if self.panoramas else None,
        )

    def fingerprints(self) -> dict[str, str]:
        """Of names and sizes of the files that there are, for a table's recipe."""
        marks = {}
        if self.backgrounds:
            names = [
                f"{path.relative_to(self.backgrounds)}:{path.stat().st_size}"
                for path in list_photos(self.backgrounds)
            ]
            marks["photos_sha256"] = hashlib.sha256("\n".join(names).encode()).hexdigest()
        for name in ("skins", "panoramas"):
            if path := getattr(self, name):
                marks[f"{name}_sha256"] = Archive(path, name).fingerprint()
        return marks

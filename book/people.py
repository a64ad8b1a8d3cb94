"""Draw ``_static/people.jpg``: three people, encrypted and decrypted.

    python book/people.py            # some minutes on two cores

Eileen Collins (NASA) and Grace Hopper (US Navy) are in the public domain and come with
scikit-image and Matplotlib. The third person is generated. All go the way of
``facersa encrypt`` and ``facersa decrypt``; salts are random, and so are the faces.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib import get_data_path
from torch import Tensor

from facersa import FaceRSA, load_image
from facersa.cipher.typed import Secrets
from facersa.cli.demo import demo_photo
from facersa.figures.sheets import contact_sheet
from facersa.files import write_atomic
from facersa.photo.images import jpeg_bytes, resize, to_float, to_levels

PASSWORD = Secrets(("correct horse battery staple",))
GENERATED = 31  # seed of a person who is drawn and then treated as a photograph


def square(picture: Tensor) -> Tensor:
    """The upper square of a picture (1, 3, H, W) that is taller than wide."""
    return to_float(picture[..., : picture.shape[-1], :])


def main() -> None:
    """Encrypt, decrypt, and lay out a row for each step."""
    engine = FaceRSA()
    hopper = load_image(Path(get_data_path()) / "sample_data/grace_hopper.jpg")
    made = engine.renderer.full(engine.generator.sample([GENERATED], 0.7))
    photos = {"Eileen Collins": demo_photo(), "Grace Hopper": hopper, "generated": made}
    rows: list[list[Tensor]] = [[], [], []]
    for name, photo in photos.items():
        print(name)
        encrypted = engine.encrypt(engine.invert(to_levels(photo)), PASSWORD)
        decrypted = engine.decrypt(encrypted.data, PASSWORD)
        for row, picture in zip(
            rows, (photo, encrypted.image, decrypted.image), strict=True
        ):
            row.append(resize(square(picture), 420))
    labels = [
        f"{name}, {how}"
        for how in ("photograph", "encrypted", "decrypted")
        for name in photos
    ]
    labels[:3] = photos
    pictures = [picture for row in rows for picture in row]
    sheet = contact_sheet(pictures, labels, side=420)
    path = Path(__file__).parent / "_static" / "people.jpg"
    write_atomic(path, jpeg_bytes(sheet, quality=88))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()

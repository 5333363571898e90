"""Small JPEG files of every kind that is accepted, and their pixels as Pillow decodes them: NAME.jpg and NAME.rgb (raw,
height x width x 3). Run in this folder:  pip install pillow==13.0.0 && python make_jpeg.py"""
from PIL import Image

WIDTH, HEIGHT = 21, 13


def picture(mode):
    bands = len(mode)
    image = Image.new(mode, (WIDTH, HEIGHT))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            values = tuple((x * (7 + 3 * b) + y * (11 - 2 * b) + 40 * b) % 256 for b in range(bands))
            image.putpixel((x, y), values if bands > 1 else values[0])
    return image


def make(name, mode, **options):
    picture(mode).save(name + ".jpg", "JPEG", quality=90, **options)
    with open(name + ".rgb", "wb") as file:
        file.write(Image.open(name + ".jpg").convert("RGB").tobytes())


make("grey", "L")
make("rgb", "RGB", subsampling=2)
make("full", "RGB", subsampling=0)
make("progressive", "RGB", progressive=True, subsampling=2)
make("cmyk", "CMYK")

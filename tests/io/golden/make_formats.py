"""Writes formats.bin, the reference of test_image_decode.c: small image files of every format that is decoded, their pixels
as Pillow's convert("RGB"), and what CLIPImageProcessor (transformers, after LLaVA's padding to a square) makes of them.

    python -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make_formats.py

Each case: name (32 bytes, filled with zeros), three little-endian int32 (bytes of the file, width, height), the file, its
pixels (height, width, 3), then for each of pad 224, pad 336, square 224, square 336: GRID x GRID pixels from the middle of
GRID x GRID tiles, 8-bit (GRID, GRID, 3), before they are scaled and normalised.
"""
import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms
from transformers import CLIPImageProcessor

WIDTH, HEIGHT, GRID = 21, 13, 8


def picture(mode, width=WIDTH, height=HEIGHT):
    """Gradients with a hard edge, different in each band."""
    y, x, b = np.meshgrid(range(height), range(width), range(len(mode)), indexing="ij")
    values = (x * (7 + 3 * b) + y * (11 - 2 * b) + 40 * b + 90 * (x > y + b)) % 256
    return Image.frombytes(mode, (width, height), values.astype(np.uint8).tobytes())


# ---- PNG: Pillow writes neither interlaced files nor all depths ----

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed(row, depth):
    """(width, channels) values -> the bytes of a row."""
    values = row.reshape(-1)
    if depth == 16:
        return values.astype(">u2").tobytes()
    if depth == 8:
        return values.astype(np.uint8).tobytes()
    bits = ((values[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8)
    return np.packbits(bits).tobytes()


def paeth(a, b, c):
    distances = [abs(b - c), abs(a - c), abs(a + b - 2 * c)]
    return (a, b, c)[distances.index(min(distances))]


def filtered(rows, step):
    """Rows with the filters 0 to 4 in turn."""
    out, above = b"", bytes(len(rows[0]))
    for y, row in enumerate(rows):
        kind = y % 5
        out += bytes([kind])
        for i, value in enumerate(row):
            left = row[i - step] if i >= step else 0
            corner = above[i - step] if i >= step else 0
            guess = (0, left, above[i], (left + above[i]) // 2, paeth(left, above[i], corner))[kind]
            out += bytes([(value - guess) % 256])
        above = row
    return out


def png(colour, depth, interlaced=False, before=b"", after=b"", width=WIDTH, height=HEIGHT, limit=None):
    y, x, b = np.meshgrid(range(height), range(width), range(CHANNELS[colour]), indexing="ij")
    scale = 257 if depth == 16 else 1
    values = ((x * (7 + 3 * b) + y * (11 - 2 * b) + 40 * b) * scale + x) % (limit or 1 << depth)
    step = max(1, CHANNELS[colour] * depth // 8)
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    data = b""
    for x0, y0, dx, dy in passes:
        part = values[y0::dy, x0::dx]
        if part.size:
            data += filtered([packed(row, depth) for row in part], step)
    body = zlib.compress(data)
    middle = len(body) // 2
    return (SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)) + before +
            chunk(b"IDAT", body[:middle]) + chunk(b"IDAT", body[middle:]) + after + chunk(b"IEND", b""))


def palette(count):
    return chunk(b"PLTE", bytes((i * 37 + c * 85) % 256 for i in range(count) for c in range(3)))


def png_cases():
    for depth in (1, 2, 4, 8, 16):
        yield f"grey {depth}", png(GREY, depth)
        yield f"grey {depth} interlaced", png(GREY, depth, True)
    for depth in (1, 2, 4, 8):
        yield f"palette {depth}", png(PALETTE, depth, before=palette(1 << depth))
        yield f"palette {depth} interlaced", png(PALETTE, depth, True, before=palette(1 << depth))
    for depth in (8, 16):
        for colour, name in ((RGB, "rgb"), (GREY_ALPHA, "grey alpha"), (RGBA, "rgba")):
            yield f"{name} {depth}", png(colour, depth)
            yield f"{name} {depth} interlaced", png(colour, depth, True)
    yield "palette transparent", png(PALETTE, 8, before=palette(256) + chunk(b"tRNS", bytes(range(200))))
    yield "palette 4 transparent", png(PALETTE, 4, True, before=palette(16) + chunk(b"tRNS", b"\0\x80"))
    yield "palette too short", png(PALETTE, 8, before=palette(100), limit=120)
    yield "grey transparent", png(GREY, 8, before=chunk(b"tRNS", b"\0\x0b"))
    yield "rgb transparent", png(RGB, 8, before=chunk(b"tRNS", b"\0\x00\0\x28\0\x50"))
    yield "grey 16 transparent", png(GREY, 16, before=chunk(b"tRNS", b"\0\x0b"))
    yield "grey 16 dark", png(GREY, 16, limit=300)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    others = chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"iCCP", b"p\0\0" + zlib.compress(profile))
    yield "gamma and profile", png(RGB, 8, before=others + chunk(b"bKGD", bytes(6)))
    yield "text behind", png(RGB, 8, after=chunk(b"tEXt", b"Comment\0hello"))
    yield "one pixel", png(RGB, 8, width=1, height=1)
    yield "one column interlaced", png(GREY, 1, True, width=1, height=9)


# ---- JPEG ----

def jpeg(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def frame(file):
    """Place of the frame header's height; the sampling of the first component is 7 bytes on."""
    at = 2
    while file[at + 1] not in (0xC0, 0xC2):
        at += 2 + int.from_bytes(file[at + 2:at + 4], "big")
    return at + 5


def resampled(file, width, height, sampling):
    """The same blocks read as another size and sampling, of as many blocks."""
    at = frame(file)
    return file[:at] + struct.pack(">HH", height, width) + file[at + 4:at + 6] + bytes([sampling]) + file[at + 7:]


def jpeg_cases():
    yield "jpeg 4:4:4", jpeg(picture("RGB"), subsampling=0)
    yield "jpeg 4:2:2", jpeg(picture("RGB"), subsampling=1)
    yield "jpeg 4:2:0", jpeg(picture("RGB"), subsampling=2)
    yield "jpeg 4:4:0", resampled(jpeg(picture("RGB"), subsampling=1), HEIGHT, WIDTH, 0x12)
    yield "jpeg 4:1:1", resampled(jpeg(picture("RGB", 31, 31), subsampling=2), 61, 15, 0x41)
    yield "jpeg progressive", jpeg(picture("RGB"), progressive=True, subsampling=2)
    yield "jpeg restarts", jpeg(picture("RGB", 45, 33), restart_marker_blocks=2)
    yield "jpeg grey", jpeg(picture("L"))
    yield "jpeg grey progressive", jpeg(picture("L"), progressive=True)
    yield "jpeg stored as rgb", jpeg(picture("RGB"), keep_rgb=True)
    cmyk = jpeg(picture("CMYK"))
    yield "jpeg cmyk", cmyk
    adobe = cmyk.index(b"Adobe")
    yield "jpeg ycck", cmyk[:adobe + 11] + b"\2" + cmyk[adobe + 12:]
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "jpeg turned by exif", jpeg(picture("RGB"), exif=exif)
    yield "jpeg one pixel", jpeg(picture("RGB", 1, 1))
    yield "jpeg larger", jpeg(picture("RGB", 90, 47), subsampling=2)


# ---- WebP ----

def webp(image, **options):
    file = io.BytesIO()
    image.save(file, "WEBP", **options)
    return file.getvalue()


def riff(kind, data):
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def int24(value):
    return struct.pack("<I", value)[:3]


def animation(still, width, height, left, top, canvas_width, canvas_height):
    """One frame somewhere on a larger canvas with a background colour."""
    header = int24(left // 2) + int24(top // 2) + int24(width - 1) + int24(height - 1) + int24(100) + b"\0"
    body = (riff(b"VP8X", b"\x12\0\0\0" + int24(canvas_width - 1) + int24(canvas_height - 1)) +
            riff(b"ANIM", b"\x10\x20\x30\xff\0\0") + riff(b"ANMF", header + still[12:]))
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def webp_cases():
    yield "webp lossy", webp(picture("RGB"), quality=70)
    yield "webp lossless", webp(picture("RGB"), lossless=True)
    yield "webp lossy alpha", webp(picture("RGBA"), quality=70, exact=True)
    yield "webp lossless alpha", webp(picture("RGBA"), lossless=True, exact=True)
    yield "webp one pixel", webp(picture("RGB", 1, 1))
    yield "webp larger", webp(picture("RGB", 90, 47), quality=60)
    others = [picture("RGB").rotate(180), picture("RGB").transpose(Image.FLIP_LEFT_RIGHT)]
    yield "webp animated", webp(picture("RGB"), save_all=True, append_images=others, duration=50)
    still = webp(picture("RGB"), lossless=True)
    yield "webp animated on a canvas", animation(still, WIDTH, HEIGHT, 4, 6, 30, 24)
    alpha = webp(picture("RGBA"), lossless=True, exact=True)
    yield "webp animated alpha", animation(alpha, WIDTH, HEIGHT, 2, 0, 24, HEIGHT)


# ---- The reference ----

def pad(image, mean):
    width, height = image.size
    side = max(width, height)
    square = Image.new("RGB", (side, side), tuple(int(255 * m) for m in mean))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def preprocessed(image, padded, size):
    processor = CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size},
                                   do_rescale=False, do_normalize=False)
    if padded:
        image = pad(image, processor.image_mean)
    # Said, not guessed: of an image one pixel high the processor would take the rows for channels.
    pixels = processor.preprocess(image, return_tensors="np", input_data_format="channels_last",
                                  data_format="channels_last")["pixel_values"][0]
    assert pixels.shape == (size, size, 3) and pixels.dtype == np.uint8
    step = size // GRID
    return np.ascontiguousarray(pixels[step // 2::step, step // 2::step]).tobytes()


def main():
    with open("formats.bin", "wb") as out:
        for cases in (png_cases(), jpeg_cases(), webp_cases()):
            for name, file in cases:
                image = Image.open(io.BytesIO(file)).convert("RGB")
                out.write(name.encode().ljust(32, b"\0") + struct.pack("<3i", len(file), *image.size) + file)
                out.write(image.tobytes())
                for padded in (True, False):
                    for size in (224, 336):
                        out.write(preprocessed(image, padded, size))


if __name__ == "__main__":
    main()

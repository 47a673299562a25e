"""Draw pictures that look alike and are not the same: frames, screenshots, slides, pages, bursts. For `near.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from PIL import Image, ImageDraw, ImageFont, ImageOps

SENTENCE = (
    "the quick market report shows growth in all three regions while costs fell below plan for a second year new "
    "teams open offices with partners sales of tools and parts rose again review of goals next steps risks budget "
    "people time data quality results learned open questions"
)
ITEMS = ("Base price", "Electricity", "Meter", "Network", "Tax")
INK, BLUE, PAPER = "black", "#23395d", "#f7f7f2"

Photos = Sequence[Image.Image]


def framed(photo: Image.Image) -> Image.Image:
    """Put a white border around a photo, a twelfth of its long side."""
    return ImageOps.expand(photo, max(photo.size) // 12, "white")


def letterboxed(photo: Image.Image) -> Image.Image:
    """Put a photo on a black square."""
    return ImageOps.pad(photo, (max(photo.size), max(photo.size)), color="black")


def screenshot(photo: Image.Image, random: Random) -> Image.Image:
    """Show a photo as a post in an app on a phone."""
    screen = Image.new("RGB", (540, 1170), "white")
    pen = ImageDraw.Draw(screen)
    pen.rectangle((0, 0, 540, 50), fill="#111")
    pen.text((20, 12), "12:30", fill="white", font=_font(22))
    pen.text((200, 65), "Photogram", fill=INK, font=_font(28))
    pen.ellipse((15, 120, 65, 170), fill="#c55")
    pen.text((80, 130), random.choice(("anna", "ben.k", "carla_m", "dora")), fill=INK, font=_font(24))
    screen.paste(photo.resize((540, 540)), (0, 185))
    for left in range(20, 260, 60):
        pen.rectangle((left, 740, left + 35, 775), outline=INK, width=4)
    pen.text((20, 790), f"{random.randint(10, 999)} likes", fill=INK, font=_font(22))
    pen.text((20, 825), _words(random, 6), fill=INK, font=_font(20))
    pen.rectangle((0, 1090, 540, 1170), fill="#eee")
    for left in range(30, 540, 105):
        pen.ellipse((left, 1110, left + 40, 1150), outline=INK, width=4)
    return screen


def slide(random: Random) -> Image.Image:
    """Draw a slide of one template: a title and some points."""
    page = Image.new("RGB", (1280, 720), PAPER)
    pen = ImageDraw.Draw(page)
    pen.rectangle((0, 0, 1280, 110), fill=BLUE)
    pen.text((40, 28), _words(random, 4).title(), fill="white", font=_font(48))
    pen.ellipse((1170, 15, 1250, 95), fill="#e5a823")
    for top in range(165, 165 + 85 * random.randint(3, 6), 85):
        pen.text((110, top), _words(random, random.randint(5, 9)), fill=INK, font=_font(34))
    pen.text((40, 675), "Example Ltd. – Annual meeting", fill="#555", font=_font(20))
    pen.text((1200, 675), str(random.randint(2, 40)), fill="#555", font=_font(20))
    return page


def page(random: Random) -> Image.Image:
    """Draw a page of text."""
    sheet = Image.new("RGB", (1240, 1754), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((120, 120), _words(random, 4).title(), fill=INK, font=_font(44))
    top = 230
    while top < 1600:
        for line in range(top, min(1600, top + 36 * random.randint(3, 8)), 36):
            pen.text((120, line), _words(random, 14)[:88], fill=INK, font=_font(24))
            top = line + 36
        top += 36
    return sheet


def invoice(random: Random) -> Image.Image:
    """Draw the invoice of a month: only a date, a number and amounts are its own."""
    month = random.choice(("January", "March", "April", "June", "July", "October"))
    number = random.randint(10_000, 99_999)
    head = f"{random.randint(1, 28)} {month}\nInvoice {number}"
    amounts = [_amount(random) for _ in ITEMS]
    return _invoice(head, amounts, sum(amounts), 26)


def _amount(random: Random) -> float:
    return random.randint(300, 9999) / 100


def _invoice(head: str, amounts: Sequence[float], total: float, size: int) -> Image.Image:
    sheet = Image.new("RGB", (1240, 1754), "white")
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((120, 100, 420, 180), fill=BLUE)
    pen.text((120, 220), "Example Power Ltd.\n1 Station Road\nSampletown", fill=INK, font=_font(size))
    pen.text((800, 220), head, fill=INK, font=_font(size))
    for row, (name, amount) in enumerate(zip(ITEMS, amounts, strict=True)):
        pen.text((120, 620 + 60 * row), name, fill=INK, font=_font(size))
        pen.text((950, 620 + 60 * row), f"{amount:8.2f}", fill=INK, font=_font(size))
    pen.text((950, 950), f"{total:8.2f}", fill=INK, font=_font(size + 4))
    pen.text((120, 1200), "Please pay within 14 days to the account below.", fill=INK, font=_font(size))
    return sheet


def burst(photo: Image.Image, passer: Image.Image, random: Random) -> list[Image.Image]:
    """Show a scene at two moments: the camera moved a little, and somebody who passes by walked on."""
    edge = max(photo.size) // 40
    where = random.randint(0, photo.width // 2)
    return [
        _moment(photo, passer, edge, (0, 0), where),
        _moment(
            photo,
            passer,
            edge,
            (random.randint(-edge, edge), random.randint(-edge, edge)),
            where + random.randint(photo.width // 8, photo.width // 4),
        ),
    ]


def _moment(photo: Image.Image, passer: Image.Image, edge: int, moved: tuple[int, int], where: int) -> Image.Image:
    across, down = moved
    seen = photo.crop((edge + across, edge + down, photo.width - edge + across, photo.height - edge + down))
    person = passer.resize((seen.width // 5, seen.height // 3))
    shape = Image.new("L", person.size)
    ImageDraw.Draw(shape).ellipse((0, 0, *person.size), fill=255)
    seen.paste(person, (where, seen.height // 2), shape)
    return seen


def _drawn(draw: Callable[[Random], Image.Image]) -> Callable[[Photos, Random], list[Image.Image]]:
    return lambda photos, random: [draw(random) for _ in photos]


def _forged(photos: Photos, random: Random) -> list[Image.Image]:
    """Draw one invoice in small print again and again, each time with another amount in one line."""
    first, *others = (_amount(random) for _ in ITEMS)
    return [_invoice("3 May\nInvoice 12345", [_amount(random), *others], first, 20) for _ in photos]


def _bursts(photos: Photos, random: Random) -> list[Image.Image]:
    return [
        moment
        for number, photo in enumerate(photos[: len(photos) // 2])
        for moment in burst(photo, photos[number - 1], random)
    ]


# Each makes as many pictures as it is given photos; no two are copies of each other.
KINDS: dict[str, Callable[[Photos, Random], list[Image.Image]]] = {
    "one white frame": lambda photos, random: [framed(photo.resize((480, 480))) for photo in photos],
    "letterboxed": lambda photos, random: [letterboxed(photo) for photo in photos],
    "screenshots of one app": lambda photos, random: [screenshot(photo, random) for photo in photos],
    "slides of one template": _drawn(slide),
    "pages of text": _drawn(page),
    "invoices": _drawn(invoice),
    "one invoice, one other amount": _forged,
    "bursts": _bursts,
}


def _words(random: Random, count: int) -> str:
    return " ".join(random.choice(SENTENCE.split()) for _ in range(count))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

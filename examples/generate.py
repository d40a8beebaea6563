"""Make the example log: one year of an invented online shop, with the rows that do not belong labelled.

    python examples/generate.py [--users 700] [--seed 7] [--out examples]

writes `shop.csv` (the log, sorted by time over all users), `items.csv` (the catalogue) and `shop-labels.csv`
(for each data row of the log, counted from 0, whether it is noise and of what kind; iadsr never reads it).

The world:

- The catalogue at the end of this file has 16 categories of 4 themes each. A theme has main products (`*`),
  what goes with them (`+`) and what is used up (`~`). Popularity is Zipf within a category. Each item has a
  few usual successors in its theme, mostly main -> accessory -> consumable, so that there is something to
  learn about what comes next. One title in a hundred is missing.
- A user has 1 to 3 interests, often neighbours in the catalogue's order, each with favourite themes and a
  weight; a third interest can be so light that it leaves a row or two, which are genuine and look odd. Visits
  come in sessions that mostly stay with one interest; consumables are bought again. Some users take up a new
  interest that stays: genuine too.
- Noise always comes from a category that the user has no interest in: a `misclick` seconds after a genuine
  row, a `gift` of 1 to 4 rows in the days before a holiday, a `shared-account` session of 2 to 5 rows.

The same arguments give the same bytes everywhere: all chance comes from PCG64's raw stream, which numpy keeps
fixed between versions and machines.
"""

import argparse
import csv
import io
import math
import re
from bisect import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import numpy as np

T = TypeVar("T")

DAY = 86_400
FIRST_DAY = datetime(2024, 1, 8, tzinfo=UTC)
LAST_DAY = 360  # counted from FIRST_DAY
HOLIDAYS = [37, 125, 160, 352, 352]  # 14 February, 12 May, 16 June, and Christmas twice as often
STOCK = 760  # items on sale
SHORTEST, LONGEST = 4, 60  # rows of one user
STAYS = 6  # a new interest is followed for at least so many rows
MAIN, ACCESSORY, CONSUMABLE = "*+~"
NUMBERED = {  # themes whose main products may have a model number
    *(
        "electric guitar",
        "pedals and amps",
        "mirrorless",
        "studio lighting",
        "tripods and bags",
        "trail shoes",
    ),
    *("bikes and wheels", "drivetrain and cockpit", "tents and shelters", "camp kitchen", "light and tools"),
    *("power tools", "electrics and plumbing", "planted tank", "marine reef", "filters and water care"),
    *("machines and grinders", "sewing machines"),
}
NEXT_ROLE = {MAIN: ACCESSORY, ACCESSORY: CONSUMABLE, CONSUMABLE: CONSUMABLE}


class Dice:
    """Every random choice of the world, each made from uniform doubles of one raw PCG64 stream."""

    def __init__(self, seed: int) -> None:
        """Start the stream of `seed`."""
        self._bits = np.random.PCG64(seed)

    def uniform(self) -> float:
        """A double in [0, 1)."""
        return (int(self._bits.random_raw()) >> 11) * 2.0**-53

    def chance(self, p: float) -> bool:
        """True with probability `p`."""
        return self.uniform() < p

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high], both included."""
        return low + int(self.uniform() * (high - low + 1))

    def waiting(self, mean: float) -> float:
        """An exponential waiting time."""
        return -mean * math.log(1.0 - self.uniform())

    def pick(self, options: Sequence[T], weights: Iterable[float] | None = None) -> T:
        """One of `options`, uniformly or in proportion to `weights`."""
        if weights is None:
            return options[self.between(0, len(options) - 1)]
        edges = list(accumulate(weights))
        return options[min(bisect(edges, self.uniform() * edges[-1]), len(options) - 1)]

    def shuffled(self, options: Iterable[T]) -> list[T]:
        """All of `options`, in random order."""
        keyed = [(self.uniform(), value) for value in options]
        return [value for _, value in sorted(keyed, key=lambda pair: pair[0])]


@dataclass(eq=False)
class Item:
    """A product of the shop; `weight` is its popularity within its category."""

    item_id: str
    title: str
    category: str
    theme: str
    role: str
    weight: float
    successors: list["Item"] = field(default_factory=list)


@dataclass
class Row:
    """One line of the log; `kind` is empty for a genuine one."""

    timestamp: int
    user_id: str
    item: Item
    event: str
    kind: str = ""


@dataclass
class World:
    """All that was made: the items, each user's interests (category -> weight), the rows in time order."""

    items: list[Item]
    interests: dict[str, dict[str, float]]
    rows: list[Row]


# ---- the catalogue ----


def products() -> Iterable[tuple[str, str, list[str], str, list[str]]]:
    """Read CATALOGUE: category, theme, the category's brands, role, phrases of a product's variants."""
    category, theme, brands = "", "", [""]
    for line in filter(None, CATALOGUE.splitlines()):
        if line.startswith("=="):
            category, _, makers = line.removeprefix("== ").partition(": ")
            brands = makers.split(", ")
        elif line[0] in NEXT_ROLE:
            for product in line[2:].split("; "):
                before, _, rest = product.partition("{")
                options, _, after = rest.partition("}")
                yield category, theme, brands, line[0], [before + o + after for o in options.split("|")]
        else:
            theme = line


def spell(dice: Dice, brand: str, phrase: str, theme: str, role: str) -> str:
    """A seller's title: the place of the brand, capitals, a model number and a pack size vary."""
    if len(brand) % 2:  # this maker's shop writes in title case
        phrase = re.sub(
            r"\b(?<!['’])(?!with|for|and|the|pcs)[a-zà-ÿ](?=[a-zà-ÿ]{2})",
            lambda first: first[0].upper(),
            phrase,
        )
    if role == MAIN and theme in NUMBERED and dice.chance(0.4):
        number = dice.between(2, 98) * dice.pick([1, 5, 10, 50])
        models = [f"{dice.pick('ABCDGKLRSTVX')}{number}", f"{number}{dice.pick('SXT')}", "Mk II", "2"]
        brand = f"{brand} {dice.pick(models)}"
    if role == CONSUMABLE and dice.chance(0.15):
        phrase += dice.pick([" (2-pack)", ", value pack", ", 3 for 2"])
    opening = phrase[0].upper() + phrase[1:]
    forms = [f"{brand} {phrase}", opening, f"{opening} by {brand}", f"{opening} - {brand}"]
    return dice.pick(forms, [12, 3, 1.5, 1.5])


def build_catalogue(dice: Dice) -> list[Item]:
    """STOCK of CATALOGUE's variants as items, each with a title of its own, a popularity and successors."""
    items: list[Item] = []
    titles = {""}
    for category, theme, brands, role, phrases in products():
        brand = dice.pick(brands, [1 / (rank + 1) for rank in range(len(brands))])
        for phrase in phrases:
            title = ""
            while title in titles:
                title = spell(dice, brand, phrase, theme, role)
            titles.add(title)
            items.append(Item("", title, category, theme, role, 0.0))
    stocked = set(dice.shuffled(range(len(items)))[:STOCK])
    items = [item for place, item in enumerate(items) if place in stocked]
    for number, item in enumerate(dice.shuffled(items)):
        item.item_id = f"p{number:04d}"
    for category in dict.fromkeys(item.category for item in items):
        for rank, item in enumerate(dice.shuffled(i for i in items if i.category == category)):
            item.weight = (rank + 1.5) ** -1.15
    for item in items:
        others = [other for other in items if other.theme == item.theme and other is not item]
        while len(item.successors) < 3:
            usual = [o.weight * (5 if o.role == NEXT_ROLE[item.role] else 1) for o in others]
            item.successors.append(others.pop(others.index(dice.pick(others, usual))))
    for item in dice.shuffled(items)[: round(len(items) / 100)]:
        item.title = ""
    return sorted(items, key=lambda item: item.item_id)


# ---- the users ----


class Shopper:
    """One user: what they care for, what they did, and what happened on their account without being them."""

    def __init__(self, dice: Dice, user_id: str, shop: dict[str, list[Item]]) -> None:
        """Draw the user's interests, length and days of activity; `shop` is category -> its items."""
        self.dice, self.user_id, self.shop = dice, user_id, shop
        self.rows: list[Row] = []
        self.interests: dict[str, float] = {}
        self.themes: dict[str, dict[str, float]] = {}
        for weight in [1.0, 0.55, 0.12][: dice.pick([1, 2, 3], [35, 45, 20])]:
            self.take_up(weight * (0.6 + 0.8 * dice.uniform()))
        self.length = min(LONGEST - 9, int(SHORTEST * (1.0 - dice.uniform()) ** (-1 / 1.15)))
        self.length = max(self.length, SHORTEST + dice.between(0, 6))
        self.start = int(LAST_DAY * 0.85 * dice.uniform() ** 1.5)
        self.end = min(LAST_DAY, self.start + 30 + 3 * self.length + dice.between(0, 200))
        self.days: set[int] = set()

    def take_up(self, weight: float) -> str:
        """Add an interest with its favourite themes, half the time in a category beside the last one's."""
        shelf = list(self.shop)
        free = [category for category in shelf if category not in self.interests]
        if self.interests:
            place = shelf.index(list(self.interests)[-1])
            beside = [shelf[place - 1], shelf[(place + 1) % len(shelf)]]
            if self.dice.chance(0.5):
                free = [category for category in beside if category not in self.interests] or free
        category = self.dice.pick(free, [1 / (3 + shelf.index(c) * 7 % len(shelf)) for c in free])
        self.interests[category] = weight
        themes = self.dice.shuffled(dict.fromkeys(item.theme for item in self.shop[category]))
        self.themes[category] = dict(zip(themes, [1.0, 0.5, 0.12, 0.05], strict=True))
        return category

    def free_day(self, first: int, last: int) -> int | None:
        """A day of [first, last] without a visit yet, now taken; None where a few tries find none."""
        for _ in range(50):
            day = self.dice.between(first, last)
            if day not in self.days:
                self.days.add(day)
                return day
        return None

    def choose(self, category: str, before: list[Item], last: Item | None) -> Item:
        """The next item of a category: a successor of the last, an old consumable again, or something new."""
        dice = self.dice
        if last and last.category == category and dice.chance(0.6):
            item = dice.pick(last.successors, [6, 3, 1])
            if item.role == CONSUMABLE or item not in before:
                return item
        used_up = [item for item in before if item.category == category and item.role == CONSUMABLE]
        if used_up and dice.chance(0.15 if last else 0.35):
            return dice.pick(used_up)
        favourites = self.themes.get(category, {})
        fresh = [item for item in self.shop[category] if item not in before] or self.shop[category]
        return dice.pick(fresh, [item.weight * favourites.get(item.theme, 1.0) for item in fresh])

    def event(self, item: Item) -> str:
        """What a deliberate visit does with an item."""
        return "buy" if self.dice.chance(0.7 if item.role == CONSUMABLE else 0.4) else "view"

    def session(self, day: int, categories: Iterable[str], kind: str = "") -> None:
        """Visit the shop on a day, one row for each category named."""
        dice = self.dice
        hour = dice.pick(range(7, 22), [2, 3, 3, 3, 4, 5, 4, 3, 3, 3, 4, 6, 8, 8, 6])
        time = FIRST_DAY.timestamp() + day * DAY + hour * 3600 + dice.between(0, 3599)
        last = None
        for category in categories:
            before = [row.item for row in self.rows if row.kind == kind]
            last = self.choose(category, before, last)
            self.rows.append(Row(int(time), self.user_id, last, self.event(last), kind))
            time += 60 + min(dice.waiting(200), 900)

    def live(self) -> None:
        """Make the genuine rows: sessions in time order, and for some users a new interest that stays."""
        dice, left, newcomer, followed = self.dice, self.length, "", 0
        sizes: list[int] = []
        while left:
            sizes.append(min(left, 7, 1 + int(dice.waiting(2.2))))
            left -= sizes[-1]
        days = sorted(day for _ in sizes if (day := self.free_day(self.start, self.end)) is not None)
        left = self.length = sum(sizes[: len(days)])
        turns_at = dice.between(6, left - 2 * STAYS) if left > 20 and dice.chance(0.35) else -1
        for day, size in zip(days, sizes, strict=False):
            if not newcomer and 0 <= turns_at <= self.length - left:
                newcomer = self.take_up(1.2)
            visit: list[str] = []
            while len(visit) < size:
                owed = STAYS - followed if newcomer else 0
                if owed > 0 and (owed >= left or dice.chance(0.75)):
                    visit.append(newcomer)
                elif visit and dice.chance(0.85):
                    visit.append(visit[-1])
                else:
                    visit.append(dice.pick(list(self.interests), self.interests.values()))
                followed += visit[-1] == newcomer
                left -= 1
            self.session(day, visit)

    def disturb(self) -> None:
        """Add the rows that do not belong: a gift, someone else's session, misclicks."""
        dice = self.dice
        foreign = [category for category in self.shop if category not in self.interests]
        genuine = list(self.rows)
        holiday = dice.pick(HOLIDAYS)
        if self.start + 12 < holiday <= self.end + 12 and dice.chance(0.7):
            day = self.free_day(holiday - 11, holiday - 2)
            size = min(dice.pick([1, 2, 3, 4], [3, 4, 3, 2]), 1 + self.length // 6)
            if day is not None:
                self.session(day, [dice.pick(foreign)] * size, "gift")
        if self.length >= 8 and dice.chance(0.2):
            day = self.free_day(self.start, self.end)
            if day is not None:
                size = min(dice.between(2, 5), self.length // 4)
                self.session(day, [dice.pick(foreign)] * size, "shared-account")
        anything = [item for category in foreign for item in self.shop[category]]
        clumsiness = min(dice.waiting(0.04), 0.15)
        for row in genuine:
            if len(self.rows) < LONGEST and dice.chance(clumsiness):
                popular = [item.weight for item in anything] if dice.chance(0.6) else None
                time = row.timestamp + dice.between(2, 40)
                self.rows.append(Row(time, self.user_id, dice.pick(anything, popular), "view", "misclick"))


def build_world(users: int = 700, seed: int = 7) -> World:
    """Make the catalogue, then each user from a stream of their own: more users leave the first alone."""
    items = build_catalogue(Dice(seed))
    order = dict.fromkeys(category for category, *_ in products())
    shop = {category: [item for item in items if item.category == category] for category in order}
    world = World(items, {}, [])
    for number in range(users):
        shopper = Shopper(Dice((seed << 32) + number + 1), f"u{number:04d}", shop)
        shopper.live()
        shopper.disturb()
        world.interests[shopper.user_id] = shopper.interests
        world.rows += shopper.rows
    world.rows.sort(key=lambda row: (row.timestamp, row.user_id))
    return world


# ---- the files ----


def table(header: str, lines: Iterable[Sequence[object]]) -> bytes:
    """A CSV file's bytes, the same on every system."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header.split(","))
    writer.writerows(lines)
    return text.getvalue().encode()


def files(world: World) -> dict[str, bytes]:
    """The three files, name -> bytes."""
    rows = world.rows
    return {
        "shop.csv": table(
            "user_id,item_id,timestamp,event,title",
            ((r.user_id, r.item.item_id, r.timestamp, r.event, r.item.title) for r in rows),
        ),
        "items.csv": table("item_id,title", ((item.item_id, item.title) for item in world.items)),
        "shop-labels.csv": table("row,is_noise,kind", ((n, int(bool(r.kind)), r.kind) for n, r in enumerate(rows))),
    }


def main() -> None:
    """Write the files and say what is in them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--users", type=int, default=700, help="how many users (%(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="another seed, another world (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder (beside this file)")
    options = parser.parse_args()
    world = build_world(options.users, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, content in files(world).items():
        (options.out / name).write_bytes(content)
        print(f"{options.out / name}: {len(content):,} bytes")
    noise = sum(bool(row.kind) for row in world.rows)
    print(f"{len(world.rows):,} rows, {noise:,} of them noise; {len(world.items):,} items")


# `== category: brands`, then themes, each with lines of main products `*`, accessories `+`, consumables `~`.
# Products are separated by `;`, and each option of `{a|b}` is an item. Neighbouring categories share users.
CATALOGUE = """
== calligraphy: Quillard, Rowe & Penn, Sumigawa, Inkfield, Maravel
fountain pens
* piston-filled fountain pen, {fine|broad} nib; brass pocket fountain pen; clear demonstrator pen {EF|M} nib
+ leather pen sleeve for {one pen|three pens}; screw-type ink converter; pen flush and nib cleaning kit
~ bottled ink {winter teal|oak brown|registrar's blue-black} 50 ml
~ short ink cartridges, {black|royal blue}, 30 pcs
pointed pen
* oblique nib holder in {walnut|rosewood}; copperplate starter set with holder and six nibs
* straight holder, cork grip
+ {Spencerian|copperplate} slanted guide pad A4; brass inkwell with lid
~ flexible steel nibs {G type|No. 303|crow quill}, box of 12; gouache for lettering, gold
~ walnut ink crystals 40 g
brush lettering
* water brush set, {3|6} tips; dual-tip brush markers, {24 colours|pastel 12}
* sumi brush, goat and weasel hair, medium
+ bamboo brush mat; suzuri ink stone, {oval|rectangular}; brush lettering workbook: modern alphabets
~ sumi ink, liquid, {180 ml|60 ml}; practice rice paper, 100 sheets
paper and notebooks
* dot grid notebook A5 {sand|forest green}; ledger-bound journal, 120 gsm ivory
* traveller's notebook cover, waxed leather
+ wax seal stamp {initial M|bee}; letter writing set with deckle edge; blotter rocker, beech
~ laid paper A4 100 g, {cream|white}, 50 sheets; cotton envelopes C6, 25 pcs
~ sealing wax sticks, {burgundy|copper}

== board games: Meeplehaus, Third Lantern, Oddkin Games, Tabula Nova, Foxglove
strategy games
* Harbours of {Brindisi|Tallinn}, worker placement for 2-4; Iron & Orchid: a civilisation game
* The Salt Road trading game
* Foundry Barons economic board game; Canal Kings, area control, age 12+
+ Iron & Orchid: Winter Courts expansion; wooden insert for Foundry Barons
+ metal coin upgrade set, {50|120} coins
~ card sleeves {63.5 x 88 mm|57 x 87 mm}, pack of 100; blank score pads for board games
party and family games
* {Wordwhirl|Mumble!} party game, 4-10 players; Grumpy Badgers card game
* Which Llama? family memory game, ages 5 and up
* drawing and guessing game with dry-erase boards
* 1000-piece puzzle, {lighthouse at dusk|mushroom chart|night market}
+ sand timers set {30 s / 1 min / 3 min|5 min}; roll-up puzzle mat
~ puzzle glue with sponge, 120 ml; dry-erase markers for game boards, fine
roleplaying
* Ashen Crown RPG core rulebook, hardcover; starter box: Caves of the Pale Choir
* solo journaling RPG Lighthouse Keeper
+ polyhedral dice set {smoky resin|brass|galaxy blue}; leather dice tray, folding
+ game master screen, 4 panels
~ {hex|square} battle map paper pad, 1 inch; blank character sheets, block of 50
miniatures
* skirmish starter army, {undead|dwarf|forest elf} box, 12 minis; modular dungeon terrain, plastic
* siege engine model kit
+ miniature painting handle; wet palette for hobby paints; hobby clippers and mould line remover
~ acrylic hobby paint {bone white|gunmetal|moss wash} 17 ml; static grass tufts 6 mm
~ plastic cement, needle tip

== guitar: Tremont, Lindqvist, Blackwater Audio, Sonora, Foxglove
acoustic guitar
* dreadnought acoustic guitar, {spruce top|all mahogany}; parlour guitar, satin finish
* 3/4 size classical guitar for students
+ guitar capo, {nickel|black}; clip-on chromatic tuner; humidifier for acoustic guitar soundhole
+ padded gig bag dreadnought
~ phosphor bronze strings {12-53|11-52}; nylon strings, high tension
electric guitar
* solid-body electric guitar, {sunburst|surf green}, HSS; semi-hollow guitar, cherry red
* 7-string metal guitar, fixed bridge
* electric bass, short scale
+ strap locks, pair; humbucker pickup set {vintage|high output}; woven guitar strap, Andean pattern
~ nickel wound electric strings {9-42|10-46}; bass strings 45-105; lemon oil for fretboards
pedals and amps
* {overdrive|fuzz|analog delay} pedal, true bypass; 20 W tube combo amp; looper pedal with drum patterns
* practice amp 5 W
+ pedalboard with bag, {small|large}; isolated power supply, 8 outputs; patch cables 15 cm, pack of 6
~ 9 V block batteries for pedals; EL84 matched tubes, pair; contact cleaner for pots
learning and stage
* fingerstyle guitar method with online audio; {blues|jazz} licks songbook with TAB
* folding guitar stand, A-frame
+ instrument cable 6 m, {braided|straight to angled}; metronome, mechanical; footrest, height adjustable
~ guitar picks {0.73 mm|1.0 mm} 24 pack; blank TAB manuscript paper

== photography: Optera, Halden Optics, Lumiere & Daughters, Kestrel, Wayfarer
mirrorless
* mirrorless camera body, 26 MP, {black|silver}; 35 mm f/1.8 prime lens; 70-300 telephoto zoom, stabilised
* 10-18 mm ultra-wide lens
+ variable ND filter {67 mm|77 mm}; camera wrist strap, paracord; lens hood, bayonet; silicone skin for camera
~ SD card UHS-II {64 GB|128 GB}; spare camera battery NP type; sensor swabs APS-C, 12 pcs
film photography
* 35 mm point-and-shoot film camera, {refurbished|new}; medium format folding camera, refurbished
* instant camera, mint
+ developing tank with two reels; changing bag; film negative scanner mask {35 mm|120}; light meter, hot shoe
~ black and white film ISO 400, {36 exp|120 roll}; colour negative film 200, 3 rolls; instant film, 20 shots
~ fixer 1 l
tripods and bags
* carbon fibre travel tripod {1.2 kg|1.6 kg}; tabletop tripod with ball head; camera backpack 22 l, rain cover
* camera sling bag {6 l|10 l}
+ Arca quick release plate; L-bracket; padded camera insert
~ lens cleaning tissues, 200; gaffer tape, matte black, 25 m
studio lighting
* LED panel bicolour, {30 W|60 W}; studio strobe 400 Ws; ring light with stand 45 cm; radio flash trigger
* speedlight TTL
+ octabox softbox {90 cm|120 cm}; light stand, air cushioned; 5-in-1 reflector 110 cm
~ seamless background paper {arctic white|storm grey} 2.72 m; colour gel sheets for flash
~ AA rechargeable cells for flash

== gravel cycling: Tarmacadam, Velden, Kestrel, North Scree, Pelotide
bikes and wheels
* gravel bike, {steel|carbon}, 1x12; alloy gravel wheelset 700c; adventure bike with flat bar, {M|L}
+ thru axle 12 x 142; bike wall hook, oak; tubeless valves {44 mm|60 mm}, pair
~ gravel tyre 700x{40|45} tan wall, tubeless; tubeless sealant {250 ml|1 l}; inner tube 700x35-45
drivetrain and cockpit
* flared drop bar {42 cm|46 cm}; 11-speed cassette 11-42; hydraulic disc brake set
* short-nose saddle with cut-out
+ cork-look bar tape, {olive|black}; multi-tool with chain breaker; torque wrench 2-14 Nm; out-front mount
~ chain lube, {dry|wax|wet}, 100 ml; 12-speed chain 126 links; brake pads, sintered; bike degreaser spray
bikepacking
* handlebar roll bag, waterproof {9 l|14 l}; seat pack 16 l; half-frame bag, {M|L}; fork cages, pair
+ rubber cargo straps 51 cm; dry sack for fork; top tube bag
~ tubeless plugs refill kit; patch kit, self-adhesive; electrolyte tabs for riders, {lemon|cola}
cycling clothing and lights
* bib shorts with cargo pockets, {men's|women's}; gravel shoes, two-bolt, {clay|black}
* gravel helmet with visor, {M|L}
* front bike light 900 lm; GPS bike computer
+ merino cycling cap; rear radar light mount; long-finger gloves, cycling, gel palm
~ chamois cream {100 ml|250 ml}; CR2032 cells for bike sensors

== trail running: North Scree, Velden, Stridewell, Hillfast, Ridgeline
trail shoes
* trail running shoes {men's 9.5|women's 7|women's 8.5}, grippy lugs; fell shoes for mud, 8 mm lugs
* cushioned ultra shoe, wide toe box; waterproof trail shoe, {slate|rust}
+ shoe gaiters for trail; speed laces, reflective; insoles, high arch
~ merino running socks {3 pairs|crew, 2 pairs}; anti-blister balm stick; shoe deodoriser pouch
hydration packs
* running vest 5 l, {unisex S/M|unisex M/L}; running belt with soft flask
* race vest 12 l for ultras, women's fit
+ soft flask 500 ml; hydration bladder 1.5 l; folding trail poles, carbon, {110 cm|120 cm}
~ hydration tube bite valves; bladder cleaning tablets
running nutrition
* mixed energy gel box, {24 gels|12 gels, caffeine}; ultra fuel starter kit; shaker bottle for runners, 700 ml
+ gel flask 150 ml; race number belt with gel loops
~ energy gel {salted caramel|citrus|espresso} 40 g; isotonic drink powder, {orange|berry}, 600 g
~ salt capsules; oat bars x12
running watches and wear
* GPS running watch, {graphite|lilac}; chest strap heart rate monitor; 2.5-layer running jacket, {M|S}
* headlamp 600 lm
* split shorts 5 inch with liner
+ watch strap, nylon loop; running cap with neck flap; arm warmers; thermal running gloves
~ kinesiology tape, {blue|beige}; technical wash for running gear 500 ml

== camping: Wayfarer, Ridgeline, Tarn & Fell, Hollowpine, Emberly
tents and shelters
* 2-person tunnel tent, {moss|sand}; ultralight solo tent 980 g; family tent with porch, 5 berth
* tarp 3 x 3 m, ripstop
+ tent footprint 2P; pegs, {Y-beam alloy|sand and snow}, 8; guy lines, reflective 4 x 3 m
~ seam sealer 28 g; tent reproofing spray 1 l; repair tape for ripstop, clear
sleeping
* down sleeping bag, comfort {0 °C|-7 °C}; insulated sleeping mat R 4.2; hammock with bug net
* camp quilt, synthetic
+ silk sleeping bag liner; inflatable camping pillow {grey|teal}; pump sack for sleeping mat
~ down wash 300 ml; mat patch kit
camp kitchen
* canister stove, {titanium|piezo}; wood-burning twig stove; cast iron Dutch oven 4.5 l for campfire
* nested pot set 2P
* enamel camp mug {blue speckle|white}
+ folding windscreen for stove; long spoon, titanium; collapsible water carrier 10 l
~ gas canister {230 g|450 g}; freeze-dried meal, {chilli|pasta pesto|porridge}; firelighters, wood wool, 32
light and tools
* camping lantern, rechargeable, {400 lm|1000 lm}; fixed-blade bushcraft knife; folding saw 20 cm; camp axe
* water filter
+ ferro rod with striker; leather axe sheath; map case, waterproof
~ paracord {15 m|30 m}; water purification tablets, 50; insect repellent, deet-free, 100 ml

== home improvement: Bracken & Vise, Torvald, Kilnworth, Hammerly, Emberly
power tools
* 18 V cordless drill driver, {2 x 2 Ah|bare}; random orbital sander 125 mm; jigsaw 650 W; circular saw 190 mm
* multi-cutter
+ 18 V battery {2 Ah|4 Ah}; drill bit set, HSS, {19 pc|99 pc}; dust bag for sander
~ sanding discs 125 mm {P80|P120|P240}, 50; jigsaw blades for wood, 5; wood screws 4 x 40, 200
hand tools
* claw hammer 16 oz, {fibreglass|hickory}; chisel set, 4, beech handles; ratchet screwdriver
* spirit level 60 cm; block plane
+ tool roll, canvas; quick-grip clamps {150 mm|300 mm}, pair; carpenter's pencil sharpener
~ utility knife blades, 50; carpenter's pencils x12; honing compound bar
painting and decorating
* paint sprayer, HVLP; roller and tray set {9 in|4 in}; matt emulsion 5 l, {chalk white|sage|dusk blue}
* wallpaper table
+ extension pole 2 m; angled sash brush {1.5 in|2 in}; cutting-in edger
~ masking tape 36 mm, {3 rolls|low tack}; filler, fine surface, 600 g; dust sheets 4 x 3 m
electrics and plumbing
* smart thermostat, {white|brass}; LED ceiling spotlight kit, 6; mixer tap for kitchen, {matt black|chrome}
* shower head rail
+ voltage tester pen; basin wrench; pipe cutter 15/22 mm
~ PTFE tape 12 m; silicone sealant {clear|white} 310 ml; cable clips, 100; wall plugs assorted

== aquarium: Reefwater, Minnowbrook, Aquilo, Verdant Glass, Tidepool Co
planted tank
* rimless glass tank {30 l|60 l|120 l}; planted LED light 45 cm; CO2 kit with regulator and diffuser
* hang-on filter
+ aquascaping tweezers and scissors; dragon stone, {3 kg|8 kg}; spider wood root, medium; drop checker
~ plant fertiliser, {all-in-one|potassium} 500 ml; aquarium soil 8 l, dark; CO2 cartridges 88 g
fish and feeding
* automatic fish feeder; betta tank 20 l with heater; breeding box, {acrylic|mesh}
* starter fish tank set, 54 l
+ aquarium heater {50 W|100 W}; fish net 10 cm; feeding ring, floating
~ tropical flakes {100 ml|1 l}; betta pellets, mini; frozen-dried bloodworm 12 g; sinking wafers for catfish
marine reef
* protein skimmer up to 200 l; reef LED with app, {blue|full}; wavemaker pump {4000|8000} l/h
* RO/DI water unit, 4 stage
+ refractometer for salinity; coral frag plugs, 30; magnetic algae scraper
~ reef salt {4 kg|20 kg}; calcium reagent refill; filter socks 200 micron, 4; coral food, phyto 250 ml
filters and water care
* canister filter {250|350}, 900 l/h; sponge filter for shrimp tanks; UV clarifier 9 W
* air pump, quiet, {one|two} outlets
+ gravel siphon with bulb; filter hose 12/16 mm, 3 m; digital aquarium thermometer
~ filter wool, 500 g; water conditioner {250 ml|500 ml}; 6-in-1 test strips, 50; live bacteria starter

== cats: Whiskerton, Purrsley, Tidepool Co, Miaowerk, Bramblepaw
cat food
* kitten starter food box; raw-style freeze-dried {chicken|rabbit} 400 g; timed cat feeder for two meals
* cat water fountain
+ lick mat for cats; ceramic cat bowl, tilted, {cream|charcoal}; fountain filters, carbon, 6
~ grain-free dry cat food {salmon|turkey} 2 kg; wet food pouches in jelly, 12 x 85 g
~ cat treats, {tuna|cheese} 60 g; malt paste
litter
* self-cleaning litter box; hooded litter tray with flap, {grey|sage}; top-entry litter box, XL
* litter cabinet, oak look
+ litter scoop with stand; litter trapping mat {60 x 45|90 x 60}
~ clumping cat litter, {lavender|unscented}, 10 l; tofu litter 6 l; litter tray liners, 20
~ odour powder for cat litter
play and scratch
* cat tree {140 cm|175 cm}, sisal posts; corrugated scratcher lounge; interactive laser toy
* cat tunnel, crinkle, 3-way
* wall-mounted cat shelf with bridge
+ feather wand with {bell|spare teasers}; spring toys, 10; catnip mice, set of 3
~ dried catnip 30 g; silvervine sticks; replacement cardboard for scratcher
cat care and travel
* cat carrier backpack, {bubble|mesh}; soft-sided pet carrier for cabin; heated cat bed; window perch
* cat grooming glove
+ breakaway cat collar {bell, red|reflective}; nail clippers for cats; stainless flea comb
~ spot-on flea treatment for cats, {3|6} pipettes; pheromone diffuser refill; hairball gel

== houseplants: Fernweh Botanics, Leafcombe, Verdant Glass, Pottering, Bramblepaw
tropical plants
* Monstera deliciosa, {12 cm pot|21 cm pot}; Philodendron 'Pink Princess'; Calathea orbifolia
* Alocasia, {Polly|zebrina}
* Boston fern, hanging
+ moss pole {60 cm|90 cm}; plant mister, amber glass; humidity tray with pebbles
~ houseplant feed {500 ml|1 l concentrate}; aroid potting mix 5 l; sphagnum moss 150 g; leaf shine wipes
succulents and cacti
* Echeveria trio; cactus mix, {3 plants|6 plants}; string of pearls, 10 cm; Aloe vera, large
* Haworthia 'Zebra'
+ terracotta pot {8 cm, set of 4|14 cm}; succulent tool kit; shallow bonsai bowl, speckled
~ gritty cactus soil {3 l|10 l}; pumice 2 l; cactus fertiliser drops
pots and stands
* mid-century plant stand, {acacia|black}; self-watering planter {18 cm|25 cm}; macramé hanger, cotton
* stoneware pot, moss
+ cork plant mat 20 cm; drip saucers, {clear|terracotta}, 5; watering can, long spout, brass
~ clay pebbles (LECA) {5 l|10 l}; pot drainage mesh discs
propagation and care
* grow light bar, full spectrum, {30 cm|60 cm}; propagation station, glass tubes in oak; heated propagator
* moisture meter
+ bypass snips for plants; {copper|bamboo} plant labels, 20; glass cloche
~ rooting {gel|powder} 50 ml; yellow sticky traps for fungus gnats; neem oil spray 750 ml; nematodes, 1 dose

== espresso: Corvino, Slow Bloom Coffee, Maravel, Ostia, Kettle & Crumb
machines and grinders
* espresso machine, dual boiler, {steel|white}; lever espresso maker, manual; single-dose grinder 64 mm
* hand grinder, conical
* bean-to-cup machine with {milk carafe|steam wand}
+ bottomless portafilter {54 mm|58 mm}; grinder bellows; water tank filter
~ descaler {500 ml|sachets}; espresso machine cleaning powder; group head gasket
barista tools
* flat tamper {53 mm|58.5 mm}, spring loaded; coffee scale with timer; knock box, walnut
* electric milk frother
+ WDT needle distributor; milk pitcher {350 ml|600 ml}; dosing funnel, magnetic; tamping mat; puck screen
~ blind-filter backflush tablets; barista cloths, 4; milk system cleaner
filter and brew
* pour-over dripper, {ceramic|plastic}, size 02; gooseneck kettle, variable temperature
* French press {350 ml|1 l}; moka pot 6 cup
* cold brew jar 1 l
+ glass coffee server 600 ml; brew stand; insulated coffee mug, {sand|navy}
~ paper coffee filters {size 02|basket}, 100; brew water minerals
coffee beans
* coffee sampler, {4 origins|8 origins}; espresso roast tasting set
* green beans for home roasting, Sidamo, 1 kg
+ vacuum coffee canister {0.7 l|1.2 l}; tasting journal for coffee; cupping spoon
~ espresso beans {dark|medium} roast 1 kg; Ethiopia Guji, washed, 250 g; decaf Colombia 250 g
~ Kenya AA, filter, 250 g

== baking: Kettle & Crumb, Ovenbird, Millstone & Sons, Sugarloft, Pottering
bread and sourdough
* banneton proofing basket, {round 22 cm|oval 30 cm}; enamel bread cloche; baking steel 6 mm; folding proofer
* dough mixer 7 l
+ bread lame with {walnut|steel} handle; dough scraper; linen couche; sourdough crock with thermometer strip
~ strong white bread flour {5 kg|1.5 kg}; dried sourdough starter; fresh-milled rye 1 kg; instant yeast 500 g
cakes
* stand mixer 4.8 l, {cream|pistachio}; springform tin {20 cm|26 cm}; Bundt tin, swirl
* cake turntable, cast iron; hand mixer
+ offset palette knife; cake lifter; cake tin liners, {8 in|10 in}; cake carrier with lock
~ vanilla extract {100 ml|paste 50 g}; caster sugar 3 kg; baking powder, gluten free; ground almonds 1 kg
decorating
* piping set, {24 nozzles|52 pcs}; airbrush kit for cakes; fondant roller with rings
* silicone moulds, {roses|shells}
+ icing smoother, pair; reusable piping bags; cookie cutters, {woodland|numbers}
~ gel food colours, {8|12}; ready-to-roll fondant, white 1 kg; sprinkles, {pastel|gold}; edible glitter
~ royal icing sugar
chocolate and pastry
* tempering thermometer for chocolate; French rolling pin, {maple|marble}; perforated tart rings 8 cm, 6
* croissant cutter
* crème brûlée set with torch
+ pastry brush, natural; baking beans, ceramic; silicone mat {macaron|half sheet}
~ couverture chocolate {70 %|milk 36 %} 1 kg; cocoa powder, Dutch, 500 g; leaf gelatine, 50; pastry flour T45

== baby: Nestling, Pip & Fable, Sleepy Otter, Tumbleweed Kids, Calmera
feeding
* baby bottle set, anti-colic, {newborn|6 m+}; electric breast pump, {single|double}; high chair, foldable
* baby food maker
+ silicone bib, {terracotta|mint}; bottle brush with stand; weaning bowl with suction; slow flow teats, 2
~ infant formula, stage {1|2}, 800 g; fruit purée pouches, {apple|mango}, 12; breast milk storage bags
nappies and changing
* changing mat, wipe clean, {clouds|leaves}; cloth nappy starter kit; nappy bin, odour lock
* changing bag, rucksack
+ portable changing clutch; nappy wet bag {S|L}; nappy liners, bamboo
~ nappies size {2, 60 pcs|4, 44 pcs}; water wipes, 12 x 60; nappy rash cream 100 g; nappy bin refill
sleep and nursery
* baby sleeping bag {0-6 m|6-18 m} 2.5 tog; white noise machine with night light; bedside crib
* video baby monitor; swaddle set
+ cot sheet, fitted, {stars|oat}, 2; musical cot mobile; blackout blind with suckers
~ soothers, {0-6 m|6-18 m}, night glow, 2; baby laundry liquid 1.5 l
prams and play
* pushchair, compact fold, {navy|stone}; baby carrier, ergonomic; play gym with {wooden arch|piano}
* baby bouncer; activity jumper
+ pram rain cover; pushchair cup holder; footmuff, fleece; stacking rings; teething {giraffe|ring}
~ baby bath wash {200 ml|500 ml}; baby sunscreen SPF 50

== skincare: Calmera, Solenne, Haru Labs, Bare Orchard, Petal & Pore
cleansing
* konjac and cleanser gift set; sonic face brush, {rose|aqua}; cleansing balm {90 g|30 g travel}
* oil cleanser, 200 ml
+ muslin face cloths, 3; headband, spa terry; reusable make-up remover pads, {16|7}
~ gel cleanser, salicylic, {150 ml|400 ml}; micellar water 400 ml; foaming wash for sensitive skin
serums
* {vitamin C 15 %|niacinamide 10 %|retinal 0.1 %} serum 30 ml; peptide eye serum; azelaic acid suspension
* snail mucin essence
+ dropper travel bottles 10 ml; jade gua sha; dermaroller 0.25 mm
~ hyaluronic serum {30 ml|60 ml}; exfoliating toner, AHA, {100 ml|240 ml}; pimple patches, 36
moisture and sun
* ceramide cream {50 ml|tub 340 g}; sleeping mask, overnight; barrier repair balm; face oil, rosehip
* facial mist, {rose|cica}
+ cream spatulas, steel; skincare fridge 4 l, {white|pink}
~ daily sunscreen SPF 50, {fluid|tinted|stick}; lip balm SPF 30; after-sun gel, aloe
masks and tools
* LED face mask; clay mask, {pink|charcoal}; facial steamer, nano ionic; ice globes, pair; microcurrent device
+ silicone mask brush; mixing bowl set for masks; quartz face roller
~ sheet masks, {green tea|honey|mixed} x10; eye gel patches, gold, 30 pairs; peel-off nose strips
~ conductive gel

== sewing: Threadneedle, Bobbin & Bird, Maison Calico, Selvedge, Rowe & Penn
sewing machines
* sewing machine, {23 stitches|mechanical, 14 stitches}; overlocker, 4 thread; computerised quilting machine
* mini hand stitcher
+ walking foot, {low shank|snap-on}; bobbins, 25, in case; sewing machine dust cover
~ machine needles {universal 80|jeans 100|stretch 75}; sewing machine oil; overlock cone thread, ecru, 4
dressmaking
* wrap dress sewing pattern, {sizes 6-16|sizes 18-30}; linen trousers pattern; dressmaker's dummy, adjustable
* cutting mat A2
+ rotary cutter {28 mm|45 mm}; fabric shears 9 in; pattern weights, 8; French curve ruler
~ washed linen by the metre, {ochre|navy|rust}; invisible zips, 10; iron-on interfacing 1 m
~ polyester thread set, 24
quilting
* jelly roll strips, {batik|solids}; quilt kit: {log cabin|flying geese}; quilting ruler 6 x 24
* lap quilting frame
+ seam roller; binding clips, 50; quilting gloves
~ cotton batting {crib|queen}; fat quarters bundle, {floral|indigo}; basting spray 500 ml
knitting and embroidery
* embroidery kit, {wildflowers|moths}, 15 cm hoop; circular needles, interchangeable set; punch needle starter
* sashiko kit
+ stitch markers, 40; yarn bowl, {olive wood|ceramic}; embroidery snips, stork; blocking mats, 9
~ merino yarn DK {oatmeal|plum|sea glass} 100 g; stranded cotton, 50 skeins; water-soluble stabiliser
~ tapestry needles
"""

if __name__ == "__main__":
    main()

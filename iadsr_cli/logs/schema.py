"""Which column plays which role: user, item, time, text."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import UsageError, closest
from iadsr_cli.logs.formats import headerless

# Spelled without case, "_", "-" and spaces: "userid" stands for user_id, userId, User-ID ...
_NAMES = {
    "user": ("userid", "user", "uid", "visitorid", "customerid", "reviewerid"),
    "item": (
        "itemid", "item", "movieid", "parentasin", "asin", "productid", "trackid", "businessid", "articleid",
        "bookid",
    ),
    "time": ("timestamp", "ts", "time", "datetime", "eventtime", "unixreviewtime", "createdat", "tdat"),
    "text": ("title", "movietitle", "name", "description", "text"),
}  # fmt: skip
# Names that count where no column has one of the above.
_LESS_USUAL = {
    "user": (
        "personid", "memberid", "username", "householdkey", "accountid", "reviewer", "customer", "profileid",
    ),
    "item": (
        "videoid", "animeid", "artistid", "venueid", "skuid", "sku", "recipeid", "isbn", "gmapid", "stockcode",
        "contentid", "clickarticleid", "adgroupid", "songid", "gameid", "appid", "newsid", "poiid", "restaurantid",
        "hotelid", "listingid", "courseid", "postid", "offerid", "locationid", "placeid",
    ),
    "text": (
        "prodname", "productname", "itemname", "booktitle", "gametitle", "appname", "songtitle", "trackname",
        "headline",
    ),
}  # fmt: skip
# Sessions are taken for users where no column names these; beside one it has to be said which is meant. The last stands
# beside `user_id` in logs of shops, and there is not meant.
_SESSIONS = ("sessionid", "session", "usersession")
# The same for times, but only where the values are times: a date may also be when an item came out.
_PERHAPS_TIMES = (
    "date", "timems", "utctimestamp", "clicktimestamp", "invoicedate", "eventdate", "dateadded", "reviewdate",
    "commenttime", "transactiondt", "orderdate", "purchasedate", "checkintime",
)  # fmt: skip
# Columns of what the user had before the row, as logs that were made ready for training have them.
_HISTORIES = (
    "history", "hist", "historyitems", "userhistory", "clickhistory", "itemhistory", "itemidlist", "histitemid",
    "histmovieid",
)  # fmt: skip
# Parts of times, and times of items, of users and of who gathered the log.
_NO_TIMES = re.compile(
    "offset|zone|crawl|scrape|birth|release|publi[cs]|regist|join|[-_ ](year|month|day|hour|minute|second)s?$",
    re.IGNORECASE,
)
_RECBOLE_SUFFIX = re.compile(r":(token|float|token_seq|float_seq)$")
NONE = "none"


@dataclass(frozen=True)
class Roles:
    """The columns that play a role, by the names they have in the file; `time` None means file order."""

    user: str
    item: str
    time: str | None
    text: tuple[str, ...]

    @property
    def keys(self) -> list[str]:
        """The columns without which a row is no interaction: user, item and, where there is one, time."""
        return [name for name in (self.user, self.item, self.time) if name is not None]


def find_roles(columns: Sequence[str], settings: LogSettings, source: str) -> Roles:
    """Return which of `columns` is what: the settings decide, otherwise a column's usual names, then less usual ones.

    A time column with a less usual name is not among them: its values decide (`logs.time_role`).
    Text columns are returned in the order of their usual names, title before text (or as the settings give them).

    Raises:
        UsageError: a column that was named is not there, user or item has no candidate, or a role other than
            text has several; or one column would play two of user, item and time.
    """
    user = _required("user", settings.user_column, columns, source)
    item = _required("item", settings.item_column, columns, source)
    time = None
    if settings.time_column != NONE:
        time = _found("time", settings.time_column, columns, source)
    roles = Roles(user, item, time, find_text(columns, settings, source))
    _check_distinct(roles, source)
    return roles


def find_item(
    columns: Sequence[str], settings: LogSettings, source: str, usual: str | None = None, *, joined: bool = True
) -> str:
    """Return the item column of an items file: the settings decide, otherwise its name.

    That is the log's name of it, `usual`, or a usual one, or just "id". Where the file is not `joined` to a log,
    `--item-column` may be meant for one and be absent here.

    Raises:
        UsageError: the column that was named is not there, there is no candidate, or there are several.
    """
    named, known = settings.item_column, candidates("item", columns)
    if not joined and named is not None and known and _matching(named, columns) is None:
        named = None
    if named is None and usual is not None:
        named = _matching(usual, columns) or _matching(without_type(usual), columns)
    # In a log, the id may be that of the row.
    if named is None and not known and (joined or not candidates("user", columns)):
        ids = [column for column in columns if _folded(column) == "id"]
        named = ids[0] if len(ids) == 1 else None
    return _required("item", named, columns, source)


def find_text(columns: Sequence[str], settings: LogSettings, source: str) -> tuple[str, ...]:
    """Return the text columns, none to several.

    Raises:
        UsageError: a column that was named is not there.
    """
    named = settings.text_column
    if not named:
        return tuple(candidates("text", columns))
    if NONE in named and _matching(NONE, columns) is None:
        if len(named) > 1:
            raise UsageError(
                f'--text-column "none" was given together with {_quoted(n for n in named if n != NONE)}.',
                'Give either "none" or the columns to join.',
            )
        return ()
    return tuple(dict.fromkeys(find_column(name, columns, source) for name in named))


def _required(role: str, named: str | None, columns: Sequence[str], source: str) -> str:
    column = _found(role, named, columns, source)
    if column is None:
        hint = headerless(columns, source)
        raise UsageError(
            f"No column of {source} looks like the {role} column. Columns: {_quoted(columns)}.",
            f"{hint} Else name the column with --{role}-column." if hint else f"Name it with --{role}-column.",
        )
    return column


def _found(role: str, named: str | None, columns: Sequence[str], source: str) -> str | None:
    if named is not None:
        return find_column(named, columns, source)
    found = candidates(role, columns)
    if len(found) > 1:
        raise several(role, found, source)
    return found[0] if found else None


def several(role: str, found: Sequence[str], source: str) -> UsageError:
    """Return the error for columns of which each could play a role, the likeliest first."""
    return UsageError(
        f"{len(found)} columns of {source} could be the {role} column: {_quoted(found)}.",
        f"Choose with --{role}-column {_shell_word(found[0])}"
        + (" (or none, to use file order)." if role == "time" else "."),
    )


def candidates(role: str, columns: Sequence[str]) -> list[str]:
    """Return the columns with a usual name of `role`, or else those with a less usual one, the most usual first.

    For the user, sessions are the last.
    """
    usual = _named(_NAMES[role], columns)
    found = usual or _named(_LESS_USUAL.get(role, ()), columns)
    if role == "user":
        found += _named(_SESSIONS[:-1] if usual else _SESSIONS, columns)
    return found


def perhaps_times(columns: Sequence[str], roles: Roles) -> list[str]:
    """Return the columns with a less usual name of times, which they are if their values are; not users and items."""
    return [name for name in _named(_PERHAPS_TIMES, columns) if name not in (roles.user, roles.item)]


def _named(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    return sorted(
        (column for column in columns if _folded(column) in names),
        key=lambda column: names.index(_folded(column)),
    )


def is_time(column: str) -> bool:
    """Return whether a column is called `time`, as times of day are that stand beside a date."""
    return _folded(column) == "time"


def like_times(columns: Sequence[str], roles: Roles) -> list[str]:
    """Return the columns that sound like times of rows, less usual names of these first; not users and items."""
    sounding = (name for name in columns if re.search("date|time", _folded(name)) and not _NO_TIMES.search(name))
    others = (name for name in sounding if name not in (roles.user, roles.item))
    return list(dict.fromkeys([*perhaps_times(columns, roles), *others]))


def histories(columns: Sequence[str], roles: Roles) -> list[str]:
    """Return the columns that list what the user had before the row, by their names; none that plays a role."""
    return [name for name in _named(_HISTORIES, columns) if name not in (roles.user, roles.item, *roles.text)]


def find_column(name: str, columns: Sequence[str], source: str) -> str:
    """Return the column called `name`, with or without RecBole's type suffix.

    Raises:
        UsageError: there is none; the nearest names are given.
    """
    column = _matching(name, columns)
    if column is None:
        raise unknown_column(name, columns, source)
    return column


def without_type(column: str) -> str:
    """Return a column's name without RecBole's type suffix, if it has one."""
    return _RECBOLE_SUFFIX.sub("", column)


def with_types(added: Mapping[str, pa.DataType], columns: Sequence[str]) -> list[str]:
    """Return the names of columns that are added to others: with RecBole's type suffix where all of those have one."""
    if not all(map(_RECBOLE_SUFFIX.search, columns)):
        return list(added)
    return [f"{name}:{'float' if pa.types.is_floating(type) else 'token'}" for name, type in added.items()]


def unknown_column(name: str, columns: Sequence[str], source: str) -> UsageError:
    """Return the error for a column that is not there, with the nearest names."""
    return UsageError(f'Column "{name}" not found in {source}.', f"Candidates: {_quoted(closest(name, columns))}.")


def _matching(name: str, columns: Sequence[str]) -> str | None:
    """Return the column called `name`, with or without RecBole's type suffix."""
    if name in columns:
        return name
    stripped = [column for column in columns if without_type(column) == name]
    return stripped[0] if len(stripped) == 1 else None


def _check_distinct(roles: Roles, source: str) -> None:
    by_column: dict[str, list[str]] = {}
    for role, column in (("user", roles.user), ("item", roles.item), ("time", roles.time)):
        if column is not None:
            by_column.setdefault(column, []).append(role)
    for column, shared in by_column.items():
        if len(shared) > 1:
            raise UsageError(
                f'Column "{column}" of {source} cannot be the {" and the ".join(shared)} column at once.',
                f"Name another one with --{shared[-1]}-column.",
            )


def _folded(column: str) -> str:
    return re.sub(r"[-_ ]", "", without_type(column.strip()).casefold())


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _shell_word(name: str) -> str:
    return name if re.fullmatch(r"[\w.:-]+", name) else f"'{name}'"

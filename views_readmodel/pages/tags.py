"""Template tags of the staff pages: figures, moments, states and icons, each written in one place.

Invariant: amounts are formatted here and nowhere else, from minor units, so that every number on a page agrees with
every other. Built in for all templates by settings.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.published.money import format_amount
from views_readmodel.pages import wording
from views_readmodel.pages.days import bank_zone

register = template.Library()

MINUS: Final = "\N{MINUS SIGN}"


@register.simple_tag
def icon(name: str) -> SafeString:
    """A small picture that says nothing which the words beside it do not."""
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        static("daybook/icons.svg"),
        name,
    )


@register.filter
def money(amount_minor: int, currency: str) -> str:
    """An amount as people read it: 1,500.00, with a true minus sign when it is negative."""
    whole, point, rest = format_amount(abs(amount_minor), currency).partition(".")
    return f"{MINUS if amount_minor < 0 else ''}{int(whole):,}{point}{rest}"


@register.simple_tag
def amount(amount_minor: int, currency: str) -> SafeString:
    """An amount with its currency."""
    return format_html('{}<span class="currency">{}</span>', money(amount_minor, currency), currency)


@register.simple_tag
def movement(amount_minor: int, currency: str) -> SafeString:
    """An amount that moved: its sign and an arrow say which way; nothing moved no way."""
    if amount_minor == 0:
        return format_html('<data value="{}">{}</data>', format_amount(0, currency), money(0, currency))
    way = "out" if amount_minor < 0 else "in"
    sign = MINUS if amount_minor < 0 else "+"
    return format_html(
        '<span class="way">{}</span><data value="{}">{}{}</data>',
        icon(way),
        format_amount(amount_minor, currency),
        sign,
        money(abs(amount_minor), currency),
    )


@register.simple_tag
def pill(state: str) -> SafeString:
    """A state: the same word and mark everywhere."""
    mark = wording.mark_of(state)
    return format_html(
        '<span class="pill pill-{}" data-state="{}">{}{}</span>', mark.tone, state, icon(mark.icon), mark.word
    )


@register.simple_tag
def moment(at: datetime | None, style: str = "short") -> SafeString | str:
    """A moment in the reader's zone, exact on hover. `style`: short (of today only the time), full or day."""
    return "" if at is None else _time(timezone.localtime(at), style)


@register.simple_tag
def moment_of_record(at: datetime, style: str = "short") -> SafeString:
    """A moment on what may be printed for a customer: in the reader's zone on the screen, in the bank's on paper."""
    read, recorded = timezone.localtime(at), timezone.localtime(at, bank_zone())
    if read.replace(tzinfo=None) == recorded.replace(tzinfo=None):
        return _time(read, style)
    return format_html("{}{}", _time(read, style, shown="screen-only"), _time(recorded, "full", shown="paper-only"))


def _time(local: datetime, style: str, *, shown: str = "") -> SafeString:
    exact = f"{local:%A} {local.day} {local:%B %Y, %H:%M:%S}.{local.microsecond // 1000:03} {local:%Z}"
    where = format_html(' class="{}"', shown) if shown else ""
    return format_html(
        '<time datetime="{}" title="{}"{}>{}</time>',
        local.astimezone(UTC).isoformat(),
        exact,
        where,
        _spoken(local, style),
    )


def _spoken(local: datetime, style: str) -> str:
    day = f"{local.day} {local:%b %Y}"
    if style == "day":
        return day
    if style == "full":
        return f"{day}, {local:%H:%M:%S}"
    now = timezone.localtime()
    if local.date() == now.date():
        return f"{local:%H:%M:%S}"
    return f"{local.day} {local:%b}, {local:%H:%M}" if local.year == now.year else f"{day}, {local:%H:%M}"


@register.filter
def person(actor: str) -> str:
    """An actor's name for people."""
    return wording.who(actor)


@register.filter
def state_word(state: str) -> str:
    """A state in its one word, where there is no room for its pill."""
    return wording.mark_of(state).word


@register.filter
def entry_kind(kind: str) -> str:
    """What a line of a statement is called."""
    return wording.kind_of_entry(kind)

"""The currency of a new account: found by its code or its name as it is typed, the ones at hand first.

Invariant: only money that customers hold is offered. The codes of funds and units of account, which the core could
keep too, are for programs. Imported by the forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django import forms

FUNDS: Final = frozenset({"BOV", "CHE", "CHW", "CLF", "COU", "MXV", "USN", "UYI", "UYW"})
"""Units of account of ISO 4217 that nobody pays with."""

_NAMES: Final = """
    AED UAE dirham; AFN Afghani; ALL Lek; AMD Armenian dram; AOA Kwanza; ARS Argentine peso; AUD Australian dollar;
    AWG Aruban florin; AZN Azerbaijan manat; BAM Convertible mark; BBD Barbados dollar; BDT Taka; BHD Bahraini
    dinar; BIF Burundi franc; BMD Bermudian dollar; BND Brunei dollar; BOB Boliviano; BRL Brazilian real; BSD
    Bahamian dollar; BTN Ngultrum; BWP Pula; BYN Belarusian ruble; BZD Belize dollar; CAD Canadian dollar; CDF
    Congolese franc; CHF Swiss franc; CLP Chilean peso; CNY Yuan renminbi; COP Colombian peso; CRC Costa Rican
    colon; CUP Cuban peso; CVE Cabo Verde escudo; CZK Czech koruna; DJF Djibouti franc; DKK Danish krone; DOP
    Dominican peso; DZD Algerian dinar; EGP Egyptian pound; ERN Nakfa; ETB Ethiopian birr; EUR Euro; FJD Fiji
    dollar; FKP Falkland Islands pound; GBP Pound sterling; GEL Lari; GHS Ghana cedi; GIP Gibraltar pound; GMD
    Dalasi; GNF Guinean franc; GTQ Quetzal; GYD Guyana dollar; HKD Hong Kong dollar; HNL Lempira; HTG Gourde; HUF
    Forint; IDR Rupiah; ILS New Israeli sheqel; INR Indian rupee; IQD Iraqi dinar; IRR Iranian rial; ISK Iceland
    krona; JMD Jamaican dollar; JOD Jordanian dinar; JPY Yen; KES Kenyan shilling; KGS Som; KHR Riel; KMF Comorian
    franc; KPW North Korean won; KRW Won; KWD Kuwaiti dinar; KYD Cayman Islands dollar; KZT Tenge; LAK Lao kip; LBP
    Lebanese pound; LKR Sri Lanka rupee; LRD Liberian dollar; LSL Loti; LYD Libyan dinar; MAD Moroccan dirham; MDL
    Moldovan leu; MGA Malagasy ariary; MKD Denar; MMK Kyat; MNT Tugrik; MOP Pataca; MRU Ouguiya; MUR Mauritius
    rupee; MVR Rufiyaa; MWK Malawi kwacha; MXN Mexican peso; MYR Malaysian ringgit; MZN Mozambique metical; NAD
    Namibia dollar; NGN Naira; NIO Cordoba oro; NOK Norwegian krone; NPR Nepalese rupee; NZD New Zealand dollar; OMR
    Rial Omani; PAB Balboa; PEN Sol; PGK Kina; PHP Philippine peso; PKR Pakistan rupee; PLN Zloty; PYG Guarani; QAR
    Qatari rial; RON Romanian leu; RSD Serbian dinar; RUB Russian ruble; RWF Rwanda franc; SAR Saudi riyal; SBD
    Solomon Islands dollar; SCR Seychelles rupee; SDG Sudanese pound; SEK Swedish krona; SGD Singapore dollar; SHP
    Saint Helena pound; SLE Leone; SOS Somali shilling; SRD Surinam dollar; SSP South Sudanese pound; STN Dobra; SVC
    El Salvador colon; SYP Syrian pound; SZL Lilangeni; THB Baht; TJS Somoni; TMT Turkmenistan manat; TND Tunisian
    dinar; TOP Pa'anga; TRY Turkish lira; TTD Trinidad and Tobago dollar; TWD New Taiwan dollar; TZS Tanzanian
    shilling; UAH Hryvnia; UGX Uganda shilling; USD US dollar; UYU Peso uruguayo; UZS Uzbekistan sum; VED Bolívar
    digital; VES Bolívar soberano; VND Dong; VUV Vatu; WST Tala; XAF CFA franc BEAC; XCD East Caribbean dollar; XCG
    Caribbean guilder; XOF CFA franc BCEAO; XPF CFP franc; YER Yemeni rial; ZAR Rand; ZMW Zambian kwacha; ZWG
    Zimbabwe Gold
"""
_USUAL: Final = ("EUR", "USD", "GBP", "CHF", "JPY")

_known: Final = dict(name.strip().split(" ", 1) for name in " ".join(_NAMES.split()).split(";"))
CURRENCIES: Final[Mapping[str, str]] = {code: _known[code] for code in (*_USUAL, *_known)}
"""What customers' accounts can be in, by code, each with its English name; the usual ones first."""


_SHORTEST: Final = 2
"""From how many letters on the beginning of a name is taken for it."""

SUGGESTIONS: Final = "currencies"
"""The id of the list of suggestions."""


class CurrencyField(forms.CharField):
    """A currency by its code, in either case, or by its name or the beginning of it.

    Its page has the `<datalist>` of suggestions, which a browser narrows down by code and name without a script.
    """

    widget = forms.TextInput(attrs={"list": SUGGESTIONS, "class": "input", "autocomplete": "off"})

    def clean(self, value: Any) -> str:
        """The code."""
        text = " ".join(str(super().clean(value)).split())
        code = currency_of(text)
        if text and not code:
            raise forms.ValidationError(_why_none(text), code="invalid")
        return code


def currency_of(text: str) -> str:
    """The code that a text means: the code itself, a name, or the beginning of one; "" when it means none.

    A beginning means a currency only when no other name has those words anywhere: "swiss" is the Swiss franc, but
    "peso" is nobody's in particular, although one name begins with it.
    """
    text = " ".join(text.split())
    if text.upper() in CURRENCIES:
        return text.upper()
    whole = [code for code, name in CURRENCIES.items() if name.casefold() == text.casefold()]
    alike = whole or _alike(text)
    if len(alike) == 1 and CURRENCIES[alike[0]].casefold().startswith(text.casefold()):
        return alike[0]
    return ""


def _alike(text: str) -> list[str]:
    """The codes of the currencies in whose name the text begins a word."""
    if len(text) < _SHORTEST:
        return []
    return [code for code, name in CURRENCIES.items() if f" {text}".casefold() in f" {name}".casefold()]


def _why_none(text: str) -> str:
    if len(_alike(text)) > 1:
        return "More than one currency is called that. Type its code or more of its name."
    return "This is no currency. Type its code or the beginning of its name."

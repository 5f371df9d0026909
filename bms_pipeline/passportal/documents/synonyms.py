"""Other names of labels, in English and in German, the likelier first. Only suggestions use them: nothing is applied.

The English ones are those of public maps for Kaseya BMS (IT Glue, ITBoost) and of Passportal's own templates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bms_pipeline.core.entities import Entity, EntityName
from bms_pipeline.core.mapping import folded_label

_PHONE = ("Phone Number", "Telephone", "Office Phone", "Work Phone", "Tel", "Telefon", "Telefonnummer", "Rufnummer")
_EMAIL = ("Email", "E-Mail", "Email Address", "E-mail Address", "Mail", "E-Mail-Adresse", "Mailadresse")
_PLACE = ("Site", "Office", "Branch", "Standort", "Niederlassung", "Filiale")
_NOTES = ("Note", "Comments", "Comment", "Description", "Remarks", "Notizen", "Notiz", "Bemerkungen", "Bemerkung",
          "Anmerkungen", "Anmerkung", "Kommentar", "Beschreibung")  # fmt: skip

SYNONYMS: Mapping[EntityName, Mapping[str, tuple[str, ...]]] = {
    "locations": {
        "address_1": ("Address", "Address Line 1", "Street", "Street Address", "Straße", "Strasse", "Adresse",
                      "Anschrift", "Straße und Hausnummer"),
        "address_2": ("Address Line 2", "Suite", "Adresszusatz", "Adresse 2", "Zusatz"),
        "city": ("Town", "Ort", "Stadt", "Wohnort"),
        "state": ("State", "Province", "Region", "County", "Bundesland", "Kanton"),
        "postal_code": ("ZIP", "ZIP Code", "Postal Code", "Postcode", "Zip/Postal", "PLZ", "Postleitzahl"),
        "country": ("Country/Region", "Land", "Staat"),
        "phone": _PHONE,
        "fax": ("Fax Number", "Faxnummer", "Telefax"),
    },
    "contacts": {
        "first_name": ("Firstname", "Given Name", "Forename", "Vorname"),
        "last_name": ("Lastname", "Surname", "Family Name", "Nachname", "Familienname", "Zuname"),
        "job_title": ("Title", "Position", "Role", "Function", "Funktion", "Berufsbezeichnung", "Stelle", "Rolle"),
        "email": _EMAIL,
        "phone": _PHONE,
        "mobile_phone": ("Mobile", "Mobile Number", "Cell", "Cell Phone", "Mobiltelefon", "Mobil", "Handy",
                         "Handynummer", "Mobilnummer"),
        "location": _PLACE,
        "primary_contact": ("Primary", "Main Contact", "Is Primary", "Hauptansprechpartner", "Hauptkontakt",
                            "Ansprechpartner"),
    },
    "assets": {
        "type": ("Asset Type", "Category", "Configuration Type", "Device Type", "Typ", "Art", "Gerätetyp", "Kategorie",
                 "Geräteart"),
        "serial_number": ("Serial", "Serial No", "Serial No.", "S/N", "SN", "Service Tag", "Seriennummer",
                          "Serien-Nr.", "Seriennr.", "Serien-Nummer"),
        "primary_ip": ("IP Address", "IP", "IP Adress", "Management IP", "Mgmt IP", "LAN IP", "IPv4", "IP-Adresse",
                       "IP Adresse", "Verwaltungs-IP", "Primäre IP"),
        "location": _PLACE,
        "assigned_user": ("User", "Assigned To", "Contact", "Owner", "Primary User", "Benutzer", "Zugewiesen an",
                          "Nutzer", "Anwender", "Zugewiesener Benutzer"),
        "manufacturer": ("Make", "Brand", "Vendor", "Hersteller", "Marke", "Fabrikat"),
        "model": ("Model Number", "Model No", "Model Name", "Product", "Modell", "Modellnummer", "Modellbezeichnung"),
        "operating_system": ("OS", "Operating System Name", "OS Name", "OS Info", "Betriebssystem"),
        "platform": ("OS Type", "Platform Type", "Plattform"),
        "mac_address": ("MAC", "Physical Address", "MAC-Adresse", "MAC Adresse"),
        "default_gateway": ("Gateway", "Router", "Standardgateway", "Standard-Gateway"),
        "asset_tag": ("Asset ID", "Tag", "Inventory Number", "Inventarnummer", "Inventar-Nr.", "Anlagennummer",
                      "Anlagen-Nr."),
        "status": ("State", "Asset Status", "Condition", "Zustand"),
        "notes": _NOTES,
        "purchase_date": ("Purchased", "Date Purchased", "Purchased Date", "Acquisition Date", "Acquired",
                          "Deploy Date", "Install Date", "Kaufdatum", "Anschaffungsdatum", "Gekauft am", "Kauf am"),
        "expiration_date": ("Warranty Expiration", "Warranty Expiration Date", "Warranty Expires", "Warranty End",
                            "Expires", "Garantieende", "Garantie bis", "Gewährleistung bis", "Ablaufdatum"),
    },
}  # fmt: skip
"""Entity → field → the other names of its label. No name stands for two fields of one entity."""

NOTES = ("Notes", *_NOTES)
"""The names of a label that can carry a document's marker."""


def rank(entity: Entity, column: str, label: str) -> int | None:
    """Return how far behind in the row of the field's other names a label is; None where it is none of them."""
    wanted = folded_label(label)
    names = (entity.labels.get(column, ""), *SYNONYMS.get(entity.name, {}).get(column, ()))
    return next((number for number, name in enumerate(names) if folded_label(name) == wanted), None)


def names(entity: Entity) -> Iterator[tuple[str, str]]:
    """Yield each field with each of its other names."""
    for column, others in SYNONYMS.get(entity.name, {}).items():
        for name in others:
            yield column, name

"""Drawn products: a catalogue of any size and phone photos of it, with known truth and without a network."""

from freshlens.catalogue.drawing import draw, draw_cutout
from freshlens.catalogue.kinds import CATEGORIES
from freshlens.catalogue.photos import clutter, phone_photo
from freshlens.catalogue.products import Product, product
from freshlens.catalogue.writing import as_json, write_catalogue

__all__ = [
    "CATEGORIES",
    "Product",
    "as_json",
    "clutter",
    "draw",
    "draw_cutout",
    "phone_photo",
    "product",
    "write_catalogue",
]

"""A BMS and a Passportal that nobody here wrote for this product: every habit of theirs is a switch.

Both servers rest on the vendor's OpenAPI document, the vendor's pages and other people's clients alone. The oracle
rests on this project's documentation alone. No server imports the product's clients or its sandbox.
"""

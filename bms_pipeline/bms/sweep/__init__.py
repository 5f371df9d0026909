"""One whole list read from BMS, page by page, with the proof that it is whole."""

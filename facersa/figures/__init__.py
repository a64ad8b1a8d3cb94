"""Pictures for people: sheets, sliders, players, live widgets, curves."""

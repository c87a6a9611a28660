"""Write docs/settings.md from the classes of the settings: python tools/write_settings.py."""

from pathlib import Path

from mindeye2.core.artifacts import write_text
from mindeye2.settings_guide import settings_page

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"

if __name__ == "__main__":
    print(write_text(PAGE, settings_page()))

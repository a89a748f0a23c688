"""What the demo tells the person who started it."""

from __future__ import annotations

import webbrowser

from xsam_backend.demo.folder import Login


def announcement(address: str, login: Login, backend: str) -> str:
    """Where everything is and how to get in, once it is up, and what to try."""
    return f"""
Label Studio   {address}
e-mail         {login.email}
password       {login.password}
backend        {backend}

What to try first
1. Log in and open a picture: the outlines on it are the model's own. Correct them, and Submit.
2. Switch on "Auto-Annotation" in the bar below the picture: a pink tool appears at the picture's right edge.
3. A click:   press M (once more puts the tool away), choose a label under "Click", and click on an object that has no
              outline yet. The green tick in the bar below takes the answer, the red cross drops it.
4. Not this:  choose the label again, and click with Alt held on what does not belong to the object.
5. A box:     point at the pink tool, choose the rectangle beside it and a label under "Box", and draw.
6. A phrase:  write what to look for above the picture, such as "sky", and press Enter.
"""


def open_browser(address: str) -> bool:
    """Show the address in a browser; False where there is none, or one that would take over the terminal."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    return type(browser) is not webbrowser.GenericBrowser and browser.open(address)

"""The live page: what the cameras see, as a page that a browser shows, beside a running loop.

with open_page(parse_address("127.0.0.1:8080"), labels) as page:
    view = page.view("door", source, Tuning(spec))
    loop.add(Camera("door", source, [view], view.shown))
"""

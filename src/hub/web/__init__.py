"""What browsers get from hub: pages, our scripts and styles, and the vendored code that they use.

Nothing here is fetched from anywhere else: pages work with no internet, and their content security policy says so.
"""

"""What users give: archives, folders, zips, buckets and lists, from an address to the names and bytes of photos.

It says which files are photos and of which class. It imports `core` and `pictures`.
"""

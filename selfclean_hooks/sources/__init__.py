"""What a data set on disk can be: a folder, a table, an array, a saved data set or an object; each is opened."""

"""How the labels of two tasks relate: the table R, where it comes from, and how it is kept."""

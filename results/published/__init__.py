"""Package data: the numbers that papers print, one CSV file a table; :mod:`wsolbench.papers` reads them."""

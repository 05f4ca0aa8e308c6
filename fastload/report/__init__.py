"""Plain data in, one self-contained page out: inline SVG figures, no script, nothing loaded from elsewhere.

numbers   figures as people read them: 1.24 M, 340 ms, 12.3 MB
figures   bar, stacked bar, line and histogram charts as SVG text
html      a page of sections: tiles, figures, tables, notes
machine   what figures were taken on
"""

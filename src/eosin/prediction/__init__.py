"""New slides, patches and bags: scored, drawn and tabulated."""

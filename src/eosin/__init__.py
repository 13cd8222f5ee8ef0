"""From H&E slides to a tumour detector that can be trusted."""

__version__ = "0.1.0"

"""The oracle: cases -> arrays -> verdicts -> report. Nothing here prints, parses options, or imports an engine."""

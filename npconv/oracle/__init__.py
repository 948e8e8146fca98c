"""The oracle: cases -> arrays -> verdicts -> report; it neither prints nor imports an engine."""

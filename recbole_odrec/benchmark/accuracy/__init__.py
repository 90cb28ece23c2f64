"""Accuracy of students, teachers and RecBole's models on session benchmarks: runs, significance, tables, plots."""

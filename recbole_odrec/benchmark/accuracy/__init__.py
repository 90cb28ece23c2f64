"""Accuracy of students, teachers, neighbourhood models and RecBole's: runs, significance, tables, plots."""

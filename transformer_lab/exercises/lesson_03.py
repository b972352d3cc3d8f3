"""Exercises of lesson 03."""

from transformer_lab.exercises.checking import Exercise

EXERCISES: list[Exercise] = []

"""Exercises of lesson 09."""

from transformer_lab.exercises.checking import Exercise

EXERCISES: list[Exercise] = []

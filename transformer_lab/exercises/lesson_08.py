"""Exercises of lesson 08."""

from transformer_lab.exercises.checking import Exercise

EXERCISES: list[Exercise] = []

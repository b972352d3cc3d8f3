"""Exercises of lesson 05."""

from transformer_lab.exercises.checking import Exercise

EXERCISES: list[Exercise] = []

"""Does the sound follow the dancer, and would chance do as well?"""

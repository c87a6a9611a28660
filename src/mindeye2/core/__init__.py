"""mindeye2.core"""

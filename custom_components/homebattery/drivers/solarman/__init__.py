"""Solarman V5: Modbus through the data logger on an inverter."""

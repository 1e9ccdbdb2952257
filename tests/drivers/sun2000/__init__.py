"""Tests of Huawei's driver."""
